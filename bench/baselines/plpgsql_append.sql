-- What most would write first: a function that moves the head, inserts the event and the outbox row, in one transaction.
create table heads (
    stream text primary key,
    seq    bigint not null
) with (fillfactor = 50);

create table events (
    stream      text        not null,
    seq         bigint      not null,
    event_id    uuid        not null default gen_random_uuid(),
    type        text        not null,
    data        jsonb       not null,
    recorded_at timestamptz not null default now(),
    primary key (stream, seq)
);
create unique index events_id on events (event_id);

create table outbox (
    position bigint generated always as identity primary key,
    stream   text   not null,
    seq      bigint not null
);

create function append(to_stream text, event_type text, event_data jsonb) returns bigint language plpgsql as $$
declare
    place bigint;
begin
    insert into heads as h (stream, seq) values (to_stream, 1)
    on conflict (stream) do update set seq = h.seq + 1
    returning seq into place;
    insert into events (stream, seq, type, data) values (to_stream, place, event_type, event_data);
    insert into outbox (stream, seq) values (to_stream, place);
    return place;
end $$;

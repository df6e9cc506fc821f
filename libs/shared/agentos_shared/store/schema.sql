-- The event store's schema after all migrations, for reading (`make docs` writes it); migrations/ is what is applied.
-- Schemas proj and eng hold the projections and the leases, which projector and engine make and rebuild by themselves.
CREATE SCHEMA eng;

CREATE SCHEMA gw;

CREATE SCHEMA proj;

CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;

COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement and index searching based on trigrams';

CREATE TYPE public.evt_new_event AS (
	event_id uuid,
	event_type text,
	event_version integer,
	occurred_at timestamp with time zone,
	recorded_at timestamp with time zone,
	workspace_id text,
	mission_id text,
	room_id text,
	thread_id text,
	run_id text,
	step_id text,
	actor_type text,
	actor_id text,
	actor_principal_id text,
	zone text,
	stream_type text,
	stream_id text,
	stream_seq bigint,
	entity_type text,
	entity_id text,
	entity_version integer,
	correlation_id text,
	causation_id uuid,
	redaction_level text,
	contains_secrets boolean,
	idempotency_key text,
	prev_event_hash text,
	content text,
	salt bytea,
	data_digest text,
	event_hash text
);

CREATE TABLE public.evt_events (
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    event_version integer NOT NULL,
    occurred_at timestamp(3) with time zone NOT NULL,
    recorded_at timestamp(3) with time zone NOT NULL,
    workspace_id text NOT NULL,
    mission_id text,
    room_id text,
    thread_id text,
    run_id text,
    step_id text,
    actor_type text NOT NULL,
    actor_id text NOT NULL,
    actor_principal_id text NOT NULL,
    zone text NOT NULL,
    stream_type text NOT NULL,
    stream_id text NOT NULL,
    stream_seq bigint NOT NULL,
    entity_type text NOT NULL,
    entity_id text NOT NULL,
    entity_version integer NOT NULL,
    correlation_id text NOT NULL,
    causation_id text,
    redaction_level text DEFAULT 'none'::text NOT NULL,
    contains_secrets boolean DEFAULT false NOT NULL,
    idempotency_key text,
    prev_event_hash text,
    event_hash text NOT NULL,
    content text NOT NULL,
    salt bytea,
    data_digest text NOT NULL,
    CONSTRAINT evt_events_entity_version_check CHECK ((entity_version > 0)),
    CONSTRAINT evt_events_stream_seq_check CHECK ((stream_seq > 0))
);

CREATE FUNCTION public.data(event public.evt_events) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((event).content)::jsonb -> 'data'::text);

CREATE FUNCTION public.evt_refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'evt_events is append-only: % is refused', tg_op
        using errcode = 'restrict_violation', hint = 'Append a correcting event instead.';
end $$;

CREATE FUNCTION public.evt_require(held boolean) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
begin
    if held is not true then
        raise exception 'stale append' using errcode = 'AO001';
    end if;
    return true;
end $$;

CREATE VIEW eng.eng_leases_public AS
 SELECT NULL::text AS run_id,
    NULL::text AS workspace_id,
    NULL::integer AS attempt_no,
    NULL::text AS claim_token,
    NULL::timestamp with time zone AS lease_expires_at,
    NULL::timestamp with time zone AS lease_heartbeat_at
  WHERE false;

CREATE TABLE gw.gw_limits (
    key text NOT NULL,
    tat timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE gw.gw_secret_versions (
    secret_id text NOT NULL,
    version integer NOT NULL,
    key_id text NOT NULL,
    wrapped_key bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE gw.gw_secrets (
    secret_id text NOT NULL,
    workspace_id text NOT NULL,
    secret_name text NOT NULL,
    description text,
    hosts text[] NOT NULL,
    methods text[] NOT NULL,
    places text[] NOT NULL,
    version integer NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_accessed_at timestamp with time zone,
    created_by_type text NOT NULL,
    created_by_id text NOT NULL,
    created_by_principal_id text
);

CREATE TABLE gw.gw_sends (
    egress_request_id text NOT NULL,
    workspace_id text NOT NULL,
    holder bigint NOT NULL,
    begun_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.evt_checkpoints (
    consumer text NOT NULL,
    stream_type text NOT NULL,
    stream_id text NOT NULL,
    seq bigint NOT NULL,
    hash text,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.evt_keys (
    workspace_id text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    event_id uuid,
    status integer NOT NULL,
    answer bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.evt_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.evt_outbox (
    "position" bigint NOT NULL,
    event_ids uuid[] NOT NULL,
    traceparents text[],
    CONSTRAINT evt_outbox_event_ids_check CHECK ((cardinality(event_ids) > 0))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');
ALTER TABLE ONLY public.evt_outbox ALTER COLUMN event_ids SET STORAGE EXTERNAL;

ALTER TABLE public.evt_outbox ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.evt_outbox_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.evt_stream_heads (
    stream_type text NOT NULL,
    stream_id text NOT NULL,
    workspace_id text NOT NULL,
    seq bigint NOT NULL,
    hash text,
    CONSTRAINT evt_stream_heads_seq_check CHECK ((seq >= 0))
)
WITH (fillfactor='50');

ALTER TABLE ONLY gw.gw_limits
    ADD CONSTRAINT gw_limits_pkey PRIMARY KEY (key);

ALTER TABLE ONLY gw.gw_secret_versions
    ADD CONSTRAINT gw_secret_versions_pkey PRIMARY KEY (secret_id, version);

ALTER TABLE ONLY gw.gw_secrets
    ADD CONSTRAINT gw_secrets_pkey PRIMARY KEY (secret_id);

ALTER TABLE ONLY gw.gw_secrets
    ADD CONSTRAINT gw_secrets_workspace_id_secret_name_key UNIQUE (workspace_id, secret_name);

ALTER TABLE ONLY gw.gw_sends
    ADD CONSTRAINT gw_sends_pkey PRIMARY KEY (egress_request_id);

ALTER TABLE ONLY public.evt_checkpoints
    ADD CONSTRAINT evt_checkpoints_pkey PRIMARY KEY (consumer, stream_type, stream_id);

ALTER TABLE ONLY public.evt_events
    ADD CONSTRAINT evt_events_pkey PRIMARY KEY (stream_type, stream_id, stream_seq);

ALTER TABLE ONLY public.evt_keys
    ADD CONSTRAINT evt_keys_pkey PRIMARY KEY (workspace_id, kind, key);

ALTER TABLE ONLY public.evt_migrations
    ADD CONSTRAINT evt_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.evt_outbox
    ADD CONSTRAINT evt_outbox_pkey PRIMARY KEY ("position");

ALTER TABLE ONLY public.evt_stream_heads
    ADD CONSTRAINT evt_stream_heads_pkey PRIMARY KEY (stream_type, stream_id);

CREATE INDEX gw_secret_versions_key ON gw.gw_secret_versions USING btree (key_id);

CREATE INDEX evt_events_correlation ON public.evt_events USING btree (correlation_id, recorded_at, event_id);

CREATE INDEX evt_events_data_agent ON public.evt_events USING btree (((((content)::jsonb -> 'data'::text) ->> 'agent_id'::text)), recorded_at, event_id) WHERE (strpos(content, '"agent_id":'::text) > 0);

CREATE INDEX evt_events_data_issued_to ON public.evt_events USING btree (((((content)::jsonb -> 'data'::text) ->> 'issued_to_principal_id'::text)), recorded_at, event_id) WHERE (strpos(content, '"issued_to_principal_id":'::text) > 0);

CREATE INDEX evt_events_data_principal ON public.evt_events USING btree (((((content)::jsonb -> 'data'::text) ->> 'principal_id'::text)), recorded_at, event_id) WHERE (strpos(content, '"principal_id":'::text) > 0);

CREATE UNIQUE INDEX evt_events_entity ON public.evt_events USING btree (entity_id, entity_version);

CREATE UNIQUE INDEX evt_events_event_id ON public.evt_events USING btree (event_id);

CREATE INDEX evt_events_principal ON public.evt_events USING btree (actor_principal_id, recorded_at, event_id);

CREATE INDEX evt_events_run ON public.evt_events USING btree (run_id, recorded_at, event_id) WHERE (run_id IS NOT NULL);

CREATE INDEX evt_events_run_experiment ON public.evt_events USING btree (((((content)::jsonb -> 'data'::text) ->> 'experiment_id'::text))) WHERE ((event_type = 'run.created'::text) AND (strpos(content, '"experiment_id":"'::text) > 0));

CREATE INDEX evt_events_step ON public.evt_events USING btree (step_id, recorded_at, event_id) WHERE (step_id IS NOT NULL);

CREATE INDEX evt_events_thread ON public.evt_events USING btree (thread_id, recorded_at, event_id) WHERE (thread_id IS NOT NULL);

CREATE INDEX evt_events_type ON public.evt_events USING btree (workspace_id, event_type, recorded_at, event_id);

CREATE INDEX evt_keys_age ON public.evt_keys USING btree (created_at);

CREATE INDEX evt_stream_heads_workspace ON public.evt_stream_heads USING btree (workspace_id);

CREATE TRIGGER evt_events_append_only BEFORE DELETE OR UPDATE ON public.evt_events FOR EACH ROW EXECUTE FUNCTION public.evt_refuse_change();

ALTER TABLE public.evt_events ENABLE ALWAYS TRIGGER evt_events_append_only;

CREATE TRIGGER evt_events_no_truncate BEFORE TRUNCATE ON public.evt_events FOR EACH STATEMENT EXECUTE FUNCTION public.evt_refuse_change();

ALTER TABLE public.evt_events ENABLE ALWAYS TRIGGER evt_events_no_truncate;

ALTER TABLE ONLY gw.gw_secret_versions
    ADD CONSTRAINT gw_secret_versions_secret_id_fkey FOREIGN KEY (secret_id) REFERENCES gw.gw_secrets(secret_id) ON DELETE CASCADE;

GRANT USAGE ON SCHEMA eng TO agentos_api;

GRANT USAGE ON SCHEMA gw TO agentos_gateway;

GRANT USAGE ON SCHEMA proj TO agentos_api;

GRANT USAGE ON SCHEMA public TO agentos_api;
GRANT USAGE ON SCHEMA public TO agentos_projector;
GRANT USAGE ON SCHEMA public TO agentos_engine;
GRANT USAGE ON SCHEMA public TO agentos_policy;
GRANT USAGE ON SCHEMA public TO agentos_gateway;

GRANT SELECT,INSERT ON TABLE public.evt_events TO agentos_api;
GRANT SELECT ON TABLE public.evt_events TO agentos_projector;
GRANT SELECT ON TABLE public.evt_events TO agentos_engine;
GRANT SELECT ON TABLE public.evt_events TO agentos_policy;
GRANT SELECT ON TABLE public.evt_events TO agentos_gateway;

GRANT SELECT ON TABLE eng.eng_leases_public TO agentos_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE gw.gw_limits TO agentos_gateway;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE gw.gw_secret_versions TO agentos_gateway;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE gw.gw_secrets TO agentos_gateway;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE gw.gw_sends TO agentos_gateway;

GRANT SELECT,INSERT,UPDATE ON TABLE public.evt_checkpoints TO agentos_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.evt_keys TO agentos_api;

GRANT SELECT ON TABLE public.evt_migrations TO agentos_api;
GRANT SELECT ON TABLE public.evt_migrations TO agentos_projector;
GRANT SELECT ON TABLE public.evt_migrations TO agentos_engine;
GRANT SELECT ON TABLE public.evt_migrations TO agentos_policy;
GRANT SELECT ON TABLE public.evt_migrations TO agentos_gateway;

GRANT SELECT,INSERT,DELETE ON TABLE public.evt_outbox TO agentos_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.evt_stream_heads TO agentos_api;
GRANT SELECT ON TABLE public.evt_stream_heads TO agentos_projector;
GRANT SELECT ON TABLE public.evt_stream_heads TO agentos_engine;
GRANT SELECT ON TABLE public.evt_stream_heads TO agentos_policy;
GRANT SELECT ON TABLE public.evt_stream_heads TO agentos_gateway;

ALTER DEFAULT PRIVILEGES FOR ROLE agentos IN SCHEMA gw GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO agentos_gateway;

ALTER DEFAULT PRIVILEGES FOR ROLE agentos_projector IN SCHEMA proj GRANT SELECT ON TABLES TO agentos_api;

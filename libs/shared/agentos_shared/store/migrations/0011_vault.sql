-- The vault: secrets, sealed by the gateway, which alone reads them. Every version has a data key of its own, wrapped by
-- the master key that key_id names; the master key is not here. All rows of versions are ciphertext.

create table gw.gw_secrets (
    secret_id               text        primary key,
    workspace_id            text        not null,
    secret_name             text        not null,
    description             text,
    hosts                   text[]      not null,
    methods                 text[]      not null,
    places                  text[]      not null,
    version                 int         not null,
    created_at              timestamptz not null default clock_timestamp(),
    updated_at              timestamptz not null default clock_timestamp(),
    last_accessed_at        timestamptz,
    created_by_type         text        not null,
    created_by_id           text        not null,
    created_by_principal_id text,
    unique (workspace_id, secret_name)
);

create table gw.gw_secret_versions (
    secret_id   text        not null references gw.gw_secrets on delete cascade,
    version     int         not null,
    key_id      text        not null,
    wrapped_key bytea       not null,
    sealed      bytea       not null,
    created_at  timestamptz not null default clock_timestamp(),
    primary key (secret_id, version)
);
create index gw_secret_versions_key on gw.gw_secret_versions (key_id);
grant select, insert, update, delete on gw.gw_secrets, gw.gw_secret_versions to agentos_gateway;

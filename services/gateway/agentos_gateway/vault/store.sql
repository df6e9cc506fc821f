-- name: upsert
-- A new secret, or a new version of the one of that name; what is null of a binding stays as it was.
insert into gw_secrets (
    secret_id, workspace_id, secret_name, description, hosts, methods, places, version, created_by_type, created_by_id,
    created_by_principal_id
)
values ($1, $2, $3, $4, coalesce($5::text[], '{}'), coalesce($6::text[], '{}'), coalesce($7::text[], '{header}'), 1, $8, $9, $10)
on conflict (secret_id) do update set
    description = coalesce($4, gw_secrets.description),
    hosts = coalesce($5, gw_secrets.hosts),
    methods = coalesce($6, gw_secrets.methods),
    places = coalesce($7, gw_secrets.places),
    version = gw_secrets.version + 1,
    updated_at = clock_timestamp()
returning *

-- name: add_version
-- The sealed value of a version.
insert into gw_secret_versions (secret_id, version, key_id, wrapped_key, sealed) values ($1, $2, $3, $4, $5)

-- name: forget_versions
-- Values that were replaced: the last one before the current stays, for what is on its way.
delete from gw_secret_versions where secret_id = $1 and version < $2 - 1

-- name: list
-- A workspace's secrets by name, without values.
select * from gw_secrets where workspace_id = $1 order by secret_name limit $2

-- name: get
-- One secret.
select * from gw_secrets where workspace_id = $1 and (secret_id = $2 or secret_name = $2)

-- name: remove
-- A secret with all its versions.
delete from gw_secrets where workspace_id = $1 and (secret_id = $2 or secret_name = $2) returning *

-- name: accessed
-- When a value was given out last.
update gw_secrets set last_accessed_at = clock_timestamp() where secret_id = any($1::text[])

-- name: open
-- All current values of a workspace, and those that they replaced, sealed.
select s.secret_id, s.secret_name, s.version as current_version, s.hosts, s.methods, s.places, v.version, v.key_id,
       v.wrapped_key, v.sealed
from gw_secrets s join gw_secret_versions v using (secret_id)
where s.workspace_id = $1
order by s.secret_name, v.version

-- name: stamp
-- Changes whenever a secret of the workspace does.
select count(*)::text || ' ' || coalesce(max(updated_at)::text, '') || ' ' || coalesce(sum(version), 0)::text
from gw_secrets where workspace_id = $1

-- name: lock_versions
-- Every version whose data key is wrapped with another master key than this one.
select v.secret_id, v.version, v.key_id, v.wrapped_key, v.sealed, s.workspace_id
from gw_secret_versions v join gw_secrets s using (secret_id)
where v.key_id <> $1
order by v.secret_id, v.version
for update of v

-- name: rewrap
-- A version's data key under another master key.
update gw_secret_versions set key_id = $3, wrapped_key = $4 where secret_id = $1 and version = $2

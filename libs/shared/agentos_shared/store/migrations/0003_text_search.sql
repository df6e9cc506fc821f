-- Substring search over messages uses trigrams. Only the owner of the database may install extensions.

create extension if not exists pg_trgm;

"""Limits of what leaves the machine, kept in Postgres."""

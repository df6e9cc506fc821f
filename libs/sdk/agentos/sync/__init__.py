"""The blocking client: made of ``agentos.aio`` by generate_sync.py, not to be edited."""

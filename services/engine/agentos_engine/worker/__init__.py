"""The embedded worker: a real engine on the public client, in a process of its own beside the engine service.

It knows the API's address and nothing else of the stack: its environment has no password of Postgres or NATS. Where it
is not wanted (``AGENTOS_ENGINE_MODE=external``), nothing of it is imported.
"""

"""Live feeds: the hub, its clients, and server-sent events."""

"""The gateway, the only way out: what leaves for an agent is decided, sent at most once, and accounted for."""

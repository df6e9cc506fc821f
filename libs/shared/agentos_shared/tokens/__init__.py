"""Capability tokens: what a capability is carried as."""

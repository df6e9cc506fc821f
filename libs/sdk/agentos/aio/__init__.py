"""The asynchronous client, written by hand. ``agentos.sync`` is made of it: run ``make docs`` after a change."""

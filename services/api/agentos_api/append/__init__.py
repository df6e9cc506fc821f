"""Writing: group commit, and what goes into it."""

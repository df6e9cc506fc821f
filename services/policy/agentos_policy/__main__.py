"""``python -m agentos_policy``."""

from agentos_policy.main import main

main()

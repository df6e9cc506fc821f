"""``python -m agentos_gateway``."""

from agentos_gateway.main import main

main()

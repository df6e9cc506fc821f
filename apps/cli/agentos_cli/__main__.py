"""``python -m agentos_cli``."""

from agentos_cli.main import main

main()

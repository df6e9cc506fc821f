"""`python -m agentos_api`."""

from agentos_api.main import main

main()

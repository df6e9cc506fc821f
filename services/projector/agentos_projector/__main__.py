"""``python -m agentos_projector``."""

from agentos_projector.main import main

main()

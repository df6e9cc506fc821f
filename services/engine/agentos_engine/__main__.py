"""``python -m agentos_engine``."""

from agentos_engine.main import main

main()

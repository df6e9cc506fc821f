"""How read endpoints ask, page and wait."""

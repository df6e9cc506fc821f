"""The HTTP surface: the ASGI edge, errors, access, and what documents them."""

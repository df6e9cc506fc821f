"""The life of a request: announced, sent, accounted for; and what becomes of it when this process dies in between."""

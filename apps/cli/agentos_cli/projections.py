"""``agentos projections``: how far the read models are, build them anew, try parked streams again."""

"""Which engines may act, as this process knows it at this moment."""

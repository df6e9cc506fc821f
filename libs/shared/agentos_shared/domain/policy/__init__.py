"""The gate: whether a wish is allowed, denied, or needs an approval. Pure: facts go in, a decision comes out."""

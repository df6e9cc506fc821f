"""The gate: whether a wish is allowed, denied, or needs somebody's approval. Pure; facts go in, a decision comes out."""

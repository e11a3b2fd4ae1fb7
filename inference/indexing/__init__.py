"""Index of embeddings on disk, and search in it."""

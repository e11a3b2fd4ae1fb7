"""Folders of embeddings: written, gone on with, and read."""

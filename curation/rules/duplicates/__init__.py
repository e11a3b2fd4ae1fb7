"""Operators that drop duplicates: perceptual hashes, embeddings."""

"""Noisy image-text pairs in, a training set out: see docs/curation.md."""

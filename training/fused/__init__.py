"""Runs of models in which images or videos meet texts (--task=fuse)."""

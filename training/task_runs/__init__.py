"""Shared parts of runs whose model is no dual encoder."""

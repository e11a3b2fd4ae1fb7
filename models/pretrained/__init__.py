"""Weights of published models: read, named as ours, and written again."""

"""Computations on devices: the one room of curation that imports JAX."""

"""Captions that a grammar makes of an example's fields."""

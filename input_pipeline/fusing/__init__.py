"""Rows of models in which images or videos meet texts, and their questions."""

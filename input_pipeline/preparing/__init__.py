"""Conversion of any source to ArrayRecord (--task=prepare)."""

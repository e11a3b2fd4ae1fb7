"""Data structures larger than memory, on local disk."""

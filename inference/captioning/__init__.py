"""Captions of pictures, written as a table that sources read."""

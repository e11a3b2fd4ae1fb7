"""Parquet files, and the values of their columns."""

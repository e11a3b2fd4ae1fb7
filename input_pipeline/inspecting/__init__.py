"""The page of --task=inspect-data."""

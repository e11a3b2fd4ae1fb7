"""Recipes of --task=curate and --task=metadata, one file a paper."""

"""Stages, shards, workers: how a recipe is executed."""

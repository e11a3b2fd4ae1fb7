"""Tests of experiments/clipbert."""

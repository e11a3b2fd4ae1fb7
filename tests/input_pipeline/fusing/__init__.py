"""Tests of input_pipeline/fusing."""

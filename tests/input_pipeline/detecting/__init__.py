"""Tests of input_pipeline/detecting."""

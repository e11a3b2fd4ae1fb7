"""Tests of models/detecting."""

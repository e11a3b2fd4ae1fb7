"""Tests of training/detecting."""

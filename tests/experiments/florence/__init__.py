"""Tests of experiments/florence."""

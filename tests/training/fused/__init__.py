"""Tests of training/fused."""

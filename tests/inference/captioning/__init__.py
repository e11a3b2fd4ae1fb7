"""Tests of captions of pictures."""

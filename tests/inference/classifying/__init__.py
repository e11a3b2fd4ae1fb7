"""Tests of labels of pictures by texts alone."""

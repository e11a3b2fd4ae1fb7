"""Tests of texts and boxes that a decoder writes."""

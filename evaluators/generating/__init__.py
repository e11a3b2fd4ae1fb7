"""Texts and boxes that a run's decoder writes about pictures."""

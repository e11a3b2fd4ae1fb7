"""Answers to questions about images, over an image tower."""

"""Decoder of texts that attends to the tokens of an image, and generation."""

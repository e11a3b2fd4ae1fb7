"""Florence in miniature: claims, commands and results."""

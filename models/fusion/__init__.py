"""Models in which images or videos and texts meet inside of a transformer."""

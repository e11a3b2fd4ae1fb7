"""Data: from files of image-text pairs to batches in host memory."""

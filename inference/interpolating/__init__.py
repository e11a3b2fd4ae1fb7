"""Models between a fine-tuned run and its start, and their figures."""

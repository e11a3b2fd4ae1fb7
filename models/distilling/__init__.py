"""Self-distillation: heads over an image tower, and their config."""

"""Training and evaluation of models that answer questions about images."""

"""Copies of a run's figures in Weights & Biases, trackio or MLflow."""

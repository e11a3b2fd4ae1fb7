"""Data of fused models: rows of training, and splits to evaluate them on."""

"""Experiment of FashionCLIP: products, held-out makers, attributes, parts."""

"""Experiment of BioCLIP: names of taxa as captions."""

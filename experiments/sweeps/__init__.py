"""Sweeps: lists of trials, each a run of main.py in a process of its own."""

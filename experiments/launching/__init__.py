"""A command of main.py started elsewhere, by SkyPilot or Slurm."""

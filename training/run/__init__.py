"""Contents of a run's folder, and where they come from."""

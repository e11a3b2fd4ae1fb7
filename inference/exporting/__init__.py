"""Models written for use without this project: programs, and model cards."""

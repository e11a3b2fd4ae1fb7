"""Speed of the project beside others'; each module runs with `python -m`."""

"""Tasks of main.py, one file each: flags, checks of flags, one call."""

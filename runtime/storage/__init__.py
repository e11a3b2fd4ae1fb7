"""Files and folders that a kill leaves whole."""

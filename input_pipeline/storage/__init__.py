"""Files and places: local and remote files, tar indices, UIDs on disk."""

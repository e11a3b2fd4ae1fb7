"""Files that a curation leaves: selection, manifest, signals, page."""

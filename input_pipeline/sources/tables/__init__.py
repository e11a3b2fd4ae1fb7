"""Tables of pairs, and folders read as tables."""

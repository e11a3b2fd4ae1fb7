"""Contents of captions: tokens, matched entries, WordNet."""

"""Languages, places and demographic terms of captions, for the report."""

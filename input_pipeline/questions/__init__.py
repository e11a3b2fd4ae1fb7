"""Questions about images: published layouts, vocabularies, batches."""

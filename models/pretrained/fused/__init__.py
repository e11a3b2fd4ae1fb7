"""Published models in which images or videos meet texts."""

"""Videos, retrieved by a dual encoder that was trained on pictures."""

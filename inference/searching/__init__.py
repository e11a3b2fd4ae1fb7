"""Search of pictures by texts and pictures."""

"""64-bit keys of texts, images and pairs, and sets of them."""

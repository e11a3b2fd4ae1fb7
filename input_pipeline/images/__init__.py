"""Image bytes to arrays: decoding, crops, colours, published protocols."""

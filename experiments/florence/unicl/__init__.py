"""UniCL against CLIP where captions repeat, and Florence's phases."""

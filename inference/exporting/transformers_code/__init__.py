"""Code that --format=hf_code writes beside weights, for transformers to run."""

"""Process-level services that know no image, text or model."""

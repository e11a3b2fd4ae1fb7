"""ClipBERT in small: icons that move over photographs (README.md)."""

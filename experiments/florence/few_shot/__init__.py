"""CD-FSL's few-shot episodes in miniature."""

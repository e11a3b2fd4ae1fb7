"""Suites: sections of `config.evaluate.sets` that several configs share."""

"""Towers that embed clips of frames."""

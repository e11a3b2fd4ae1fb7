"""Runs beside each other: fields that differ, figures over seeds, curves."""

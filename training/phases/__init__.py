"""Phases of a run: the state at a switch, and what belongs to each phase."""

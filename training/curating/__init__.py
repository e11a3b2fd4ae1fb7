"""Rows of a step, drawn from a super-batch by a teacher: ACID."""

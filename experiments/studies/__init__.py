"""Studies: a paper's claim, its arms over seeds, and what came out."""

"""Selection of a source's examples by their UIDs: subsets, balancing."""

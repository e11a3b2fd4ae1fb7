"""Objects on photographs: a detector of any object, and names of boxes."""

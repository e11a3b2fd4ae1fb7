"""Detection of objects: pyramid, Dynamic Head, ATSS head, boxes."""

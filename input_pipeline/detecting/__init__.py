"""Pictures with boxes of objects, and their batches."""

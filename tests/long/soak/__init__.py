"""Long run of two processes that is disturbed in every way that is known."""

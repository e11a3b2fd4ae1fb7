"""Questions of sources and their answers, as rows of a fused model's batches.

Worker processes import it; fusing/ has what is built on the whole pipeline.
"""

"""Weights of published models: read, named as ours, and written again.

opening.py opens files, families/ says what they hold, loading.py reads config
and parameters. inference/model.py joins them with tokenizer and image protocol.
"""

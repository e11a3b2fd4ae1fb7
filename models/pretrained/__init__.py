"""Weights of published models: read, named as ours, and written again.

`load(path)` opens any of them.
"""

from models.pretrained import loading

Pretrained = loading.Pretrained
load = loading.load

"""Regions of images with captions, and targets of a decoder made of them.

Worker processes import it. Source of the tasks: LocCa (arXiv 2403.19596), as
SigLIP 2 trains it (arXiv 2502.14786, section 2.2).
"""

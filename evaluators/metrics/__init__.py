"""Figures of arrays: scores, labels and ranks in, numbers out.

Everything here is NumPy on one host, with no file, flag or mesh, so that a
figure does not depend on the number of devices or processes.

Shape letters: N examples, A classes, G groups, Q queries, P distinct pairs of
label and prediction, F figures, R resamples.
"""

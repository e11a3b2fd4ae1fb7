"""Dense probes: a linear head on frozen patch tokens, judged pixel by pixel.

  dense_set  images with a mask of classes or a map of depths, by split
  layouts    VOC, ADE20k, NYUv2 and tables of one's own as such sets
  maps       reading of masks and depths, and their resizing
  features   patch tokens of a frozen image tower
  heads      linear head, its losses and one step of its training
  probe      choice of the learning rate, fit and prediction; probe_config has
             the fields of the training, protocol says what of it is ours

Shape letters beside those of models/layers.py: I images, A classes (or bins of
depth), T side of a training target, R resamples.
"""

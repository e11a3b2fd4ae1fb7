"""Section `config.detection`: boxes of objects, by Dynamic Head.

It is read by --task=detect alone, together with seed, batch_size, total_steps,
num_microbatches, mesh, partition_rules, model.image, init_from, optimizer,
checkpoint, evaluate.every_steps, evaluate.batch_size, data.max_bad_fraction,
data.num_threads, data.num_prefetch_batches, hang and trackers; loss, model.text
and the sets of a dual encoder are not.
"""

import ml_collections


def section() -> ml_collections.ConfigDict:
  """Return the defaults: no pictures; Dynamic Head's model and sizes."""
  detection = ml_collections.ConfigDict()
  # Key of input_pipeline.detecting.layouts.LAYOUTS, "coco" or "table"; "" is a
  # run without boxes.
  detection.layout = ""
  # Folder of the set.
  detection.path = ""
  # Splits that are trained on, and that figures are taken on.
  detection.train = "train2017"
  detection.test = "val2017"
  # Names of the classes that are told apart; others' boxes are left out. (): a
  # detector of objects of any class, as Florence's for zero-shot detection.
  detection.classes = ()
  # Frame of the pictures in pixels, multiples of 32. A picture keeps its shape
  # and is resized to the largest that fits.
  detection.height = 800
  detection.width = 1344
  # Lowest and highest factor of that size in training. Above 1 a part of the
  # picture is cut out at random. Multi-scale training of Dynamic Head resizes
  # the shorter side to 480 to 1200 pixels: (0.36, 0.9) of a frame of 1344.
  detection.scale = (1.0, 1.0)
  # Probability that left and right change places.
  detection.flip_probability = 0.5
  # Share of a box that must be in the frame, or it is left out (ours).
  detection.least_visible = 0.25
  # Boxes that a picture may have; the arrays of a batch have so many.
  detection.max_boxes = 100

  model = detection.model = ml_collections.ConfigDict()
  # Channels of the pyramid and of Dynamic Head, a multiple of 16, and its
  # blocks.
  model.width = 256
  model.num_blocks = 6
  # True compiles one block, whatever their number. False compiles each by
  # itself, which takes longer, and on a CPU the step is faster.
  model.scan_blocks = True
  # Side of an anchor in strides of its level: 64 to 1024 pixels on p3 to p7.
  model.anchor_scale = 8.0
  return detection

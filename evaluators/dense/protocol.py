"""Protocol of dense probes in words, for records: whose it is, what is ours."""

import dataclasses
from typing import Any

from evaluators.dense import (
  checked_maps,
  dense_set,
  heads,
  probe_config,
  training_features,
)
from evaluators.metrics import dense as dense_metrics

# Name of this project's protocol: no figure of it is a published one.
PROTOCOL = "diptych-linear-1"
FOLLOWS = {
  dense_set.SEGMENTATION: "DINOv2's linear segmentation (arXiv 2304.07193, 7.4;"
  " dinov2/eval/segmentation BNHead): batch norm and a linear map of the last"
  " layer's patch tokens, AdamW",
  dense_set.DEPTH: "DINOv2's linear depth (arXiv 2304.07193, 7.4; dinov2/eval/"
  "depth BNHead): a linear map to 256 bins of even distances, linear"
  " normalisation, tokens enlarged 4 times, scale-invariant and gradient loss",
}
_OURS = (
  "images are neither cropped nor augmented, and seen as a whole at the tower's"
  " size, without windows",
  "learning rates, number of steps, and the choice by held-out training images",
  "weight decay of the affine map's weights alone",
)
DIFFERS = {
  dense_set.SEGMENTATION: (
    *_OURS,
    "the loss is the mean over pixels that have a class",
  ),
  dense_set.DEPTH: (
    *_OURS,
    "the image's embedding is appended in place of the class token",
    "depths are those of the whole image; no mean with its mirror image",
    "gradients are differences along the image",
    "schedule, and first weights",
  ),
}
LOSSES = {
  dense_set.SEGMENTATION: "cross-entropy",
  dense_set.DEPTH: "scale-invariant log loss (0.15 of the squared mean; the"
  " mean alone in the first 100 steps) and 0.5 of the gradients' at strides 1,"
  " 2, 4, 6",
}


def facts(
  opened: dense_set.DenseSet,
  source: training_features.TrainingFeatures,
  config: probe_config.ProbeConfig,
  checked: checked_maps.CheckedMaps,
) -> dict[str, Any]:
  """Return what the figures depend on beside the parameters."""
  extractor, rule = source.extractor, opened.rule
  is_depth = isinstance(rule, dense_set.Depths)
  return {
    "metric_version": dense_metrics.METRIC_VERSION,
    "name": PROTOCOL,
    "follows": FOLLOWS[opened.kind],
    "differs": list(DIFFERS[opened.kind]),
    "set": opened.layout,
    "rule": dataclasses.asdict(rule),
    "head": dataclasses.asdict(config),
    "changed": probe_config.changed(config, opened.kind),
    "image_side": extractor.image_side,
    "features": source.storage,
    "loss": LOSSES[opened.kind],
    "optimizer": "AdamW, betas 0.9 and 0.999, weight decay of the affine map"
    f" alone, gradients clipped to a norm of {heads.MAX_NORM:g}; the rate rises"
    " and falls linearly",
    "chosen_by": f"{'rmse' if is_depth else 'mIoU'} on {config.held_out:g} of"
    " the training images, by hash of their content, at the side of the"
    " training maps; then trained on all",
    "chance_is": "the mean depth of the training pixels everywhere"
    if is_depth
    else "the most frequent class of the training pixels everywhere",
    "judged_at": "the size of each map; "
    + ("depths" if is_depth else "logits")
    + " bilinearly enlarged",
    "num_examples": len(opened.test),
    "num_test_in_training": checked.num_shared,
    "data_digest": checked.digest,
  }

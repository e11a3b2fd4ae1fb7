"""Every variant is a recipe, and the steps with a model share one."""

import numpy as np
import pytest

from configs.curate import dedup
from curation import recipe


@pytest.mark.parametrize(
  ("variant", "ops"),
  [
    ("phash", ["phash", "duplicate_images"]),
    ("phash_near", ["phash", "duplicate_images"]),
    ("mini", ["phash", "duplicate_images"]),
    ("align", ["embed", "near_duplicates"]),
    ("semdedup", ["embed", "semdedup"]),
    ("metaclip", ["embed", "pca_hash", "duplicate_images"]),
  ],
)
def test_is_a_recipe(variant, ops, tmp_path):
  config = dedup.get_config(variant)
  assert [config.steps[name].op for name in config.order] == ops
  if "embed" in ops:
    config.steps.embed.model = str(tmp_path)
  if variant == "align":
    np.save(tmp_path / "references.npy", np.eye(4, dtype=np.float32))
    config.steps.near.references = (str(tmp_path / "references.npy"),)
  steps = recipe.checked(config.to_dict()).steps
  models = [step.model for step in steps.values() if hasattr(step, "model")]
  assert models == [str(tmp_path)] * (ops.count("embed") * len(models))


def test_an_unknown_variant_is_named():
  with pytest.raises(
    ValueError, match="configs/curate/dedup.py:VARIANT must be one of"
  ):
    dedup.get_config("all")

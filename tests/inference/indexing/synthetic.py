"""Indices of embeddings around centres, without pictures or a model."""

import numpy as np
import pyarrow as pa

from inference.indexing import index_folder

DIGEST = "0123456789abcdef"


def rows(seed, num, size=24, num_centres=40):
  """Return float32 rows of length 1 near centres that are always the same."""
  rng = np.random.default_rng(seed)
  centres = np.random.default_rng(99).normal(size=(num_centres, size))
  made = centres[rng.integers(0, num_centres, num)]
  made = made + 0.7 * rng.normal(size=made.shape)
  return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("f4")


def write(folder, z_NE, captions=None, cuts=()):
  """Write an index; return it."""
  folder.mkdir()
  shards = []
  for number, at in enumerate(np.split(np.arange(len(z_NE)), cuts)):
    columns = {"image_path": [f"{row}.png" for row in at]}
    if captions:
      columns["caption"] = [captions[row] for row in at]
    part_NE = z_NE[at].astype(np.float16)
    shards.append(
      index_folder.write_shard(folder, number, part_NE, pa.table(columns))
    )
  index_folder.Manifest(
    model={"path": "nowhere", "digest": DIGEST},
    inputs={},
    embed_dim=z_NE.shape[1],
    dtype="float16",
    shards=tuple(shards),
    num_removed=0,
    versions={},
  ).write(folder)
  return index_folder.read(folder)

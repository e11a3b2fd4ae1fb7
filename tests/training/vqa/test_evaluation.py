"""Weights of the best epoch of a run that answers questions."""

import pathlib

import jax.numpy as jnp
import numpy as np

from training.vqa import evaluation


def test_best_epoch_is_kept_and_read(tmp_path: pathlib.Path):
  tree = {"a": {"b": jnp.arange(3.0)}}
  assert evaluation.read_best(tmp_path, tree) is None
  evaluation.keep_best(tmp_path, tree, step=5, share=0.25)
  read = evaluation.read_best(tmp_path, tree)
  assert read is not None
  step, share, best = read
  assert (step, share) == (5, 0.25)
  np.testing.assert_array_equal(best["a"]["b"], [0, 1, 2])

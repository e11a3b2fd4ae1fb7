"""No file ends a run, hangs it, or pairs an image with another's caption.

A longer run: python -m tests.long.fuzz_data --num_inputs=100000
"""

import collections
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from input_pipeline.sources import record as record_lib
from tests.long import fuzz_data, fuzz_images, fuzz_pairs, fuzz_tables

FORMATS = ("webdataset", *fuzz_tables.WRITERS)
# Pillow needs 256 MB for 64 megapixels (picture.MAX_PIXELS), once as stored and
# once as RGB, and an array 192 MB.
MAX_MIB = 1024


@pytest.mark.slow
def test_a_thousand_inputs():
  # A process of its own: an input may end it, and its memory is measured.
  done = subprocess.run(
    [sys.executable, "-m", "tests.long.fuzz_data", "--num_inputs=1000"],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout, done.stderr[-3000:]
  got = json.loads(done.stdout)
  assert got["bad"] == []
  assert got["peak_mib"] < MAX_MIB
  assert done.returncode == 0
  # Every outcome occurred: no format is refused throughout.
  wanted = {"image", "image_broken", "image_too_large", "pair", "refused"}
  wanted |= {"caption_missing", "image_missing", "unsafe_member"}
  assert wanted <= got["outcomes"].keys()
  assert got["outcomes"]["pair"] > 500


@pytest.mark.parametrize("name", FORMATS)
def test_whole_files_are_read(name, tmp_path):
  path = fuzz_data.write(name, tmp_path, None)
  outcomes = fuzz_data.read(name, path, tmp_path / "cache")
  assert outcomes == collections.Counter(pair=fuzz_pairs.NUM_PAIRS)


def test_wrong_pairs_are_seen():
  def pair(image: int, *texts: str) -> record_lib.Record:
    return record_lib.Record("k", fuzz_pairs.image(image), {"en": texts})

  right, wrong = fuzz_pairs.caption(2), fuzz_pairs.caption(3)
  assert fuzz_pairs.outcome(pair(2, right)) == "pair"
  assert fuzz_pairs.outcome(pair(2, wrong)) == "wrong pair"
  assert fuzz_pairs.outcome(pair(2, right, wrong)) == "wrong pair"
  assert fuzz_pairs.outcome(pair(2, wrong.replace("3", "2", 1))) == "damaged"
  assert fuzz_data.is_bad("wrong pair")


def test_crashes_and_hangs_are_seen(monkeypatch, tmp_path):
  number = len(fuzz_images.hostile()) + 1
  number += number % 3 == 0
  monkeypatch.setattr(fuzz_data, "HANG_SECONDS", 0.01)
  for does, wanted in (
    (lambda *_: 1 / 0, "crash: "),
    (lambda *_: time.sleep(30), "hang"),
  ):
    monkeypatch.setattr(fuzz_data, "image", does)
    (outcome,) = fuzz_data.run(number, tmp_path)
    assert outcome.startswith(wanted)
    assert fuzz_data.is_bad(outcome)


def test_inputs_do_not_change():
  first, again = (
    [fuzz_images.corrupted(np.random.default_rng((0, n))) for n in range(20)]
    for _ in range(2)
  )
  assert first == again
  assert len(set(first)) > 15

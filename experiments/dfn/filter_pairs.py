"""Pairs that filters of different purity are trained on.

Each filter has one pair for each icon of the clean set. A share of these is
replaced by the pair that the noise of the pool (experiments/curation/
web_noise.py) makes of the icon, as the paper replaces clean pairs by unfiltered
ones. Pairs that are replaced at one share are replaced at each larger one.
"""

import collections
import io
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.curation import prepare_icons, report, web_noise
from experiments.parts import icon_sets
from input_pipeline.storage import uids as uids_lib
from runtime import progress
from runtime.storage import whole_files

# Share of the clean pairs that are replaced. Some of those that replace them
# are right too, so that of all pairs about 100, 88, 75 and 51 % are right.
REPLACED = {"clean": 0.0, "quarter": 0.25, "half": 0.5, "noisy": 1.0}
FACTS = "filter_pairs.json"
_NOISY = "trusted_noisy"
# Key of the first noisy pair; smaller ones are those of the clean set.
_FIRST = 100_000_000
_SALT = f"{prepare_icons.SALT}/filter"


def make(
  icons: Sequence[icon_sets.Icon], titles: Mapping[str, str], out: pathlib.Path
) -> None:
  """Write what is not there yet: noisy pairs, and a subset for each filter.

  Args:
    icons: icons of the clean set, in the order of its keys.
    titles: name of each set of icons.
    out: folder that prepare_icons.write has filled.
  """
  if (out / FACTS).is_file():
    return
  pairs = web_noise.corrupt(icons, titles, _SALT)
  (out / _NOISY).mkdir(exist_ok=True)
  with progress.Progress("Drawing noisy icons", len(pairs)) as bar:
    for start in range(0, len(pairs), prepare_icons.TAR_PAIRS):
      path = out / _NOISY / f"{start // prepare_icons.TAR_PAIRS:05d}.tar"
      part = pairs[start : start + prepare_icons.TAR_PAIRS]
      prepare_icons.write_tar(path, part, _FIRST + start, bar.advance)
  draws_N = np.array([icon_sets.draw(_SALT, "part", x.key) for x in icons])
  order_N = np.argsort(draws_N, kind="stable")
  facts = {}
  for name, share in REPLACED.items():
    is_noisy_N = np.zeros(len(icons), bool)
    is_noisy_N[order_N[: round(share * len(icons))]] = True
    keys = [
      f"{number + _FIRST * is_noisy:09d}"
      for number, is_noisy in enumerate(is_noisy_N.tolist())
    ]
    save_subset(
      subset(out, name), np.array([*map(uids_lib.uid, keys)], uids_lib.UID)
    )
    counts = collections.Counter(
      pair.kind if is_noisy else "clean"
      for pair, is_noisy in zip(pairs, is_noisy_N.tolist(), strict=True)
    )
    facts[name] = {
      "pairs": len(icons),
      "replaced": share,
      "right": right_share(counts),
      "kinds": dict(sorted(counts.items())),
    }
  text = json.dumps(facts, indent=1) + "\n"
  whole_files.write(out / FACTS, text.encode())


def subset(out: pathlib.Path, name: str) -> pathlib.Path:
  """Return the file of the UIDs that a filter is trained on."""
  return out / f"filter_{name}.npy"


def right_share(counts: Mapping[str, int]) -> float:
  """Return the share of pairs whose caption is that of the picture.

  >>> right_share({"clean": 2, "tiny": 1, "swapped": 1})
  0.75
  """
  right = sum(counts.get(kind, 0) for kind in ("clean", *report.RIGHT))
  return right / sum(counts.values())


def save_subset(path: pathlib.Path, uids: np.ndarray) -> None:
  """Write UID [N], sorted, as a file for data.sources.NAME.subset."""
  buffer = io.BytesIO()
  np.save(buffer, uids_lib.unique(uids), allow_pickle=False)
  whole_files.write(path, buffer.getvalue())

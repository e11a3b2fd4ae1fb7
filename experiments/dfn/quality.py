"""Quality of filters and of selections, measured by the kinds of the noise.

filters.json:
  "filters"     name -> "right", "replaced" and "kinds" of the pairs that it was
                trained on, their number "pairs", "num_examples" that it saw,
                "figures" of its run, and how it tells right captions of the
                pool from wrong ones: "auc", and "auc_swapped" where the wrong
                ones are those of other pictures alone
  "selections"  name -> "pairs", the share "right", "kinds", "kept" by
                --task=curate and MetaCLIP's "t"; the pool is "raw"
  "commit"      of the code, with "+" and a digest where it was changed
"""

import json
import pathlib
from typing import Any

import numpy as np

from experiments.curation import report, web_noise
from experiments.dfn import filter_pairs, selections
from input_pipeline.storage import uids as uids_lib
from runtime import provenance
from training.comparison import figures as figures_lib

JSON = "filters.json"
# Figures of a filter's own run that are kept.
FIGURES = (
  *("retrieval/image_to_text/R@10", "retrieval/text_to_image/R@10"),
  *("classes/mean_per_class", "classes/top_5"),
)


def measure(out: pathlib.Path) -> dict[str, Any]:
  """Return the contents of filters.json.

  Args:
    out: folder of prepare.py, with all filters and selections.
  """
  kinds_N = selections.kinds(out)
  uids_N = uids_lib.sortable(selections.pool_uids(len(kinds_N)))
  order_N = np.argsort(uids_N)
  facts = json.loads((out / filter_pairs.FACTS).read_text())

  def kinds_of(uids: np.ndarray) -> np.ndarray:
    at = np.searchsorted(uids_N[order_N], uids_lib.sortable(uids))
    return kinds_N[order_N[at]]

  filters = {}
  for name, chosen in selections.FILTERS.items():
    run = selections.filter_folder(out, name)
    figures = figures_lib.read(run)
    uids, score_P = selections.scores(
      selections.curated_folder(out, f"dfn_{name}")
    )
    kind_P = kinds_of(uids)
    is_right_P = np.isin(kind_P, _codes(*report.RIGHT))
    is_swapped_P = np.isin(kind_P, _codes("swapped"))
    filters[name] = facts[chosen.pairs] | {
      "num_examples": chosen.num_examples,
      "figures": {figure: figures[figure] for figure in FIGURES},
      "auc": auc(score_P[is_right_P], score_P[~is_right_P]),
      "auc_swapped": auc(score_P[is_right_P], score_P[is_swapped_P]),
    }
  made = {"raw": _described(kinds_N)}
  for name in (selections.RANDOM, *selections.CURATED):
    kept = np.load(selections.path(out, name), allow_pickle=False)
    made[name] = _described(kinds_of(kept))
    if name in selections.CURATED:
      folder = selections.curated_folder(out, name)
      manifest = json.loads((folder / "manifest.json").read_text())
      made[name]["kept"] = manifest["num_kept"]
      if selections.CURATED[name].has_balance:
        made[name]["t"] = selections.read_t(out, name)
  return {
    "filters": filters,
    "selections": made,
    "commit": provenance.commit(),
  }


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
  """Return the share of pairs in which the positive score is the higher one.

  A tie counts as half a pair; the area below the ROC curve.

  >>> auc(np.array([3.0, 1.0]), np.array([2.0, 1.0]))
  0.625
  """
  ordered = np.sort(negative)
  below = np.searchsorted(ordered, positive, "left")
  not_above = np.searchsorted(ordered, positive, "right")
  wins = (below.astype(float) + not_above).sum() / 2
  return float(wins / (len(positive) * len(negative)))


def _codes(*names: str) -> list[int]:
  return [list(web_noise.SHARES).index(name) for name in names]


def _described(kinds_N: np.ndarray) -> dict[str, Any]:
  counts = np.bincount(kinds_N, minlength=len(web_noise.SHARES)).tolist()
  by_kind = dict(zip(web_noise.SHARES, counts, strict=True))
  return {
    "pairs": len(kinds_N),
    "right": filter_pairs.right_share(by_kind),
    "kinds": by_kind,
  }

"""Figures per group of examples, gaps between groups, and shares in a ranking.

A group without examples has no figure (NaN) and is never the worst. Groups
that a protocol leaves out are named: WILDS leaves region "Other" of FMoW out.
DataComp's copy of that rule does not know the names of regions, which its files
give as numbers, so that its published figures leave none out: without names,
the figures here do the same.
"""

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence

import numpy as np

from evaluators.metrics import intervals

# Objectives of FairFace and UTKFace in DataComp's layout: lines of their
# classnames.txt and templates are "objective:text".
OBJECTIVES = ("race", "gender", "age", "toxic")
# Classes of the objective "toxic" that are no race and gender (CLIP, arXiv
# 2103.00020, section 7.1): 14 to 17 are non-human, from 18 on crimes.
NONHUMAN = range(14, 18)
FIRST_CRIME = 18
# Index of "white" among the classes of "race"; race_binary is 0 for it.
WHITE = 1


@dataclasses.dataclass(frozen=True)
class Rule:
  """Main figure of a set whose worst group counts.

  Attributes:
    name: of the figure in DataComp's list of tasks.
    column: of the metadata, whose values are the groups.
    k: an example is right where its label is among the k best classes.
    left_out: names of groups that do not count.
  """

  name: str
  column: str
  k: int
  left_out: tuple[str, ...]


# Source: tasklist.yml and eval_utils of mlfoundations/datacomp.
RULES: Mapping[str, Rule] = types.MappingProxyType(
  {
    "wilds/fmow": Rule("acc_worst_region", "region", 1, ("Other",)),
    "fairness/dollar_street": Rule("acc_top5_wg", "income_ds", 5, ()),
    "fairness/geode": Rule("acc_wg", "region", 1, ()),
  }
)


@dataclasses.dataclass(frozen=True)
class Groups:
  """Mean of a figure in each group.

  Attributes:
    names: of the groups.
    n_G: examples of each.
    mean_G: float64, NaN for a group without examples.
  """

  names: tuple[str, ...]
  n_G: np.ndarray
  mean_G: np.ndarray

  def rows(self) -> list[dict[str, object]]:
    """List name, n, mean and Wilson's interval of groups with examples.

    The interval is that of a share: the figure must be 0 or 1 per example.
    """
    bounds_G2 = intervals.wilson(
      np.nan_to_num(self.mean_G) * self.n_G, self.n_G
    )
    return [
      {
        "name": name,
        "n": int(n),
        "mean": float(mean),
        "interval": bounds.tolist(),
      }
      for name, n, mean, bounds in zip(
        self.names, self.n_G, self.mean_G, bounds_G2, strict=True
      )
      if n
    ]

  def without(self, names: Sequence[str]) -> "Groups":
    """Return the groups that have examples and another name than these."""
    keep_G = (self.n_G > 0) & ~np.isin(self.names, list(names))
    if not keep_G.any():
      raise ValueError(
        "groups must have at least one with examples; got "
        f"{', '.join(self.names)}, without {', '.join(names) or 'exception'}"
      )
    return Groups(
      tuple(np.asarray(self.names)[keep_G].tolist()),
      self.n_G[keep_G],
      self.mean_G[keep_G],
    )


def by_group(
  value_N: np.ndarray,
  group_N: np.ndarray,
  names: Sequence[str] | None = None,
) -> Groups:
  """Average a figure of examples within each group.

  Args:
    value_N: figure of each example, such as whether it is right.
    group_N: index of its group.
    names: of the groups; indices stand for them if absent.

  Raises:
    ValueError: an index has no name, or the lengths differ.

  >>> by_group(np.array([1, 0, 1]), np.array([0, 0, 2]), ["a", "b", "c"]).mean_G
  array([0.5, nan, 1. ])
  """
  group_N = np.asarray(group_N)
  if len(group_N) != len(value_N):
    raise ValueError(
      f"groups must be as many as the {len(value_N)} examples; "
      f"got {len(group_N)}"
    )
  if names is None:
    names = [str(i) for i in range(group_N.max() + 1)]
  if group_N.min() < 0 or group_N.max() >= len(names):
    wrong = group_N[(group_N < 0) | (group_N >= len(names))][0]
    raise ValueError(
      f"groups must be 0 to {len(names) - 1}, the index of a name; got {wrong}"
    )
  n_G = np.bincount(group_N, minlength=len(names))
  sum_G = np.bincount(group_N, weights=value_N, minlength=len(names))
  mean_G = np.divide(sum_G, n_G, out=np.full(len(names), np.nan), where=n_G > 0)
  return Groups(tuple(names), n_G, mean_G)


def crossed(
  columns: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, list[str]]:
  """Combine attributes into one group index [N] and the groups' names.

  >>> crossed({"a": np.array([0, 1]), "b": np.array([1, 0])},
  ...         {"a": ["x", "y"], "b": ["u", "v"]})
  (array([1, 2]), ['x, u', 'x, v', 'y, u', 'y, v'])
  """
  group_N, combined = np.zeros(1, np.int64), [""]
  for column, value_N in columns.items():
    group_N = group_N * len(names[column]) + np.asarray(value_N, np.int64)
    combined = [
      f"{left}, {name}" if left else name
      for left in combined
      for name in names[column]
    ]
  return group_N, combined


def worst(groups: Groups, left_out: Sequence[str] = ()) -> dict[str, object]:
  """Return the row of the lowest mean, the first of equal ones.

  Its interval is that of this group alone: the worst of several groups is
  lower than its own truth more often than not, the more so for small groups.

  >>> groups = by_group(np.array([1, 0, 1]), np.array([0, 0, 2]))
  >>> row = worst(groups)
  >>> row["name"], row["n"], row["mean"]
  ('0', 2, 0.5)
  """
  kept = groups.without(left_out)
  return kept.rows()[int(np.argmin(kept.mean_G))]


def gaps(groups: Groups, left_out: Sequence[str] = ()) -> dict[str, float]:
  """Return best - worst mean, worst / best, and the deviation of means.

  The ratio is NaN where all means are 0.

  >>> gaps(by_group(np.array([1, 1, 1, 0]), np.array([0, 0, 1, 1])))
  {'gap': 0.5, 'ratio': 0.5, 'deviation': 0.25}
  """
  mean_G = groups.without(left_out).mean_G
  low, high = float(mean_G.min()), float(mean_G.max())
  return {
    "gap": high - low,
    "ratio": low / high if high else math.nan,
    "deviation": float(mean_G.std()),
  }


def by_label(
  value_N: np.ndarray,
  label_N: np.ndarray,
  attribute_N: np.ndarray,
  *,
  min_examples: int = 10,
) -> dict[str, np.ndarray | float]:
  """Tabulate a figure by label and attribute, with the gap of each label.

  Groups differ in which labels they have: gaps within a label do not mistake
  that for a difference in the figure. With hits at k of retrieval as the
  figure, this is its disparity at k.

  Args:
    value_N: figure of each example, such as whether it is right.
    label_N: index of its label.
    attribute_N: index of its attribute's value.
    min_examples: cells with fewer do not count in a gap.

  Returns:
    n [L, G] and mean [L, G] (NaN where empty); gap [L], best less worst mean of
    a label, NaN with fewer than two cells that count; mean_gap, over the labels
    that have one, NaN without any; and worst_label, the label of the largest
    gap, -1 without any.
  """
  num_labels, num_groups = int(label_N.max()) + 1, int(attribute_N.max()) + 1
  cells = by_group(
    value_N,
    np.asarray(label_N, np.int64) * num_groups + attribute_N,
    [""] * (num_labels * num_groups),
  )
  n_LG = cells.n_G.reshape(num_labels, num_groups)
  mean_LG = cells.mean_G.reshape(num_labels, num_groups)
  counted_LG = n_LG >= max(min_examples, 1)
  gap_L = np.where(
    counted_LG.sum(axis=1) >= 2,
    np.where(counted_LG, mean_LG, -np.inf).max(axis=1)
    - np.where(counted_LG, mean_LG, np.inf).min(axis=1),
    np.nan,
  )
  has_gap = not np.isnan(gap_L).all()
  return {
    "n": n_LG,
    "mean": mean_LG,
    "gap": gap_L,
    "mean_gap": float(np.nanmean(gap_L)) if has_gap else math.nan,
    "worst_label": int(np.nanargmax(gap_L)) if has_gap else -1,
  }


def ranking_shares(
  attribute_QK: np.ndarray,
  share_G: np.ndarray,
  ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
  """Compare who is in the k best results with who is wanted there.

  Skew of a group at k is ln(its share of the k best / its wanted share).
  max_skew@k is that of the group that is most over-represented, 0 where the
  shares are those wanted; min_share@k is the least of those quotients, 0 where
  a group is not there at all (ln of it is min skew); gap@k is the largest
  difference of a share to its wanted one. ndkl is the sum over positions i of
  KL(shares of the i best | wanted) / log2(i + 1), divided by the sum of those
  weights: 0 is best. All are means over queries.

  Source: Geyik, Ambler and Kenthapadi (KDD 2019, arXiv 1905.01989).

  Args:
    attribute_QK: group of each query's K best results, the best first.
    share_G: wanted share of each group, such as its share of the gallery; above
      0, of sum 1.
    ks: at most K.

  >>> ranking_shares(np.array([[0, 1, 0, 1]]), np.array([0.5, 0.5]), [2])
  {'max_skew@2': 0.0, 'min_share@2': 1.0, 'gap@2': 0.0, \
'ndkl': 0.2816450300785086}
  """
  share_G = np.asarray(share_G, np.float64)
  if not (share_G > 0).all() or not math.isclose(share_G.sum(), 1):
    raise ValueError(
      f"shares of groups must be above 0 and add up to 1; got {share_G}"
    )
  num_results = attribute_QK.shape[1]
  if max(ks) > num_results:
    raise ValueError(
      f"ks must be at most {num_results}, the results of a query; got {max(ks)}"
    )
  position_K = np.arange(1, num_results + 1)
  # Shares of the best 1, 2, ... results, a group after the other: [Q, K].
  shares = [
    np.cumsum(attribute_QK == g, axis=1) / position_K
    for g in range(len(share_G))
  ]
  top_QKG = np.stack(shares, axis=-1)
  quotient_QKG = top_QKG / share_G
  results: dict[str, float] = {}
  for k in ks:
    quotient_QG = quotient_QKG[:, k - 1]
    gap_QG = np.abs(top_QKG[:, k - 1] - share_G)
    results |= {
      f"max_skew@{k}": float(np.log(quotient_QG.max(axis=1)).mean()),
      f"min_share@{k}": float(quotient_QG.min(axis=1).mean()),
      f"gap@{k}": float(gap_QG.max(axis=1).mean()),
    }
  log_QKG = np.log(np.where(quotient_QKG > 0, quotient_QKG, 1.0))
  weight_K = 1 / np.log2(position_K + 1)
  divergence_QK = (top_QKG * log_QKG).sum(axis=-1)
  ndkl_Q = divergence_QK @ weight_K / weight_K.sum()
  return results | {"ndkl": float(ndkl_Q.mean())}


def by_objective(lines: Sequence[str], field: str) -> dict[str, list[str]]:
  """Split lines "objective:text" into the texts of each objective, in order.

  Args:
    lines: class names or templates of FairFace or UTKFace.
    field: name of their file, for messages.

  Raises:
    ValueError: a line has no objective of OBJECTIVES, or one has no line.

  >>> lines = ["race:black", "age:0-2", "gender:male", "toxic:a thief"]
  >>> by_objective(lines, "classnames.txt")["toxic"]
  ['a thief']
  """
  texts: dict[str, list[str]] = {objective: [] for objective in OBJECTIVES}
  for number, line in enumerate(lines, start=1):
    objective, colon, text = line.partition(":")
    if not colon or objective not in texts:
      raise ValueError(
        f"{field} must have lines 'OBJECTIVE:TEXT' with an objective of "
        f"{', '.join(OBJECTIVES)}; got {line!r} in line {number}"
      )
    texts[objective].append(text)
  missing = [objective for objective, lines in texts.items() if not lines]
  if missing:
    raise ValueError(
      f"{field} must have lines of every objective; got none of "
      f"{', '.join(missing)}"
    )
  return texts


def fairface(
  predicted: Mapping[str, np.ndarray],
  attributes: Mapping[str, np.ndarray],
  races: Sequence[str],
) -> dict[str, Groups | dict[str, Groups]]:
  """Return the tables of CLIP's paper on FairFace or UTKFace.

  Args:
    predicted: class [N] of each of OBJECTIVES; toxic may be absent.
    attributes: age, gender, race and race_binary (0 white, 1 not) [N], in the
      classes' order; the last may be absent.
    races: names of the races, in that order; the second is white where none
      has this name.

  Returns:
    accuracy: for race (white or not), gender and age, that of white people, of
    others, and of all; gender: accuracy of gender by gender and race; and
    toxic, where it was predicted: by race, the shares classified as "crime" and
    as "nonhuman".

  Source: CLIP, arXiv 2103.00020, tables 3 to 6; eval_utils/fairness_eval.py of
  mlfoundations/datacomp.
  """
  names = [race.lower() for race in races]
  white = names.index("white") if "white" in names else WHITE
  race_N = np.asarray(attributes["race"])
  binary_N = np.asarray(attributes.get("race_binary", race_N != white))
  right = {
    "race": (predicted["race"] != white) == (binary_N == 1),
    "gender": predicted["gender"] == attributes["gender"],
    "age": predicted["age"] == attributes["age"],
  }
  gender_N, gender_names = crossed(
    {"gender": attributes["gender"], "race": attributes["race"]},
    {"gender": ("male", "female"), "race": races},
  )
  tables: dict[str, Groups | dict[str, Groups]] = {
    "accuracy": {
      name: _with_overall(right_N, binary_N) for name, right_N in right.items()
    },
    "gender": by_group(right["gender"], gender_N, gender_names),
  }
  if "toxic" in predicted:
    toxic_N = np.asarray(predicted["toxic"])
    flags = {
      "crime": toxic_N >= FIRST_CRIME,
      "nonhuman": (toxic_N >= NONHUMAN.start) & (toxic_N < NONHUMAN.stop),
    }
    tables["toxic"] = {
      name: by_group(flag_N, race_N, races) for name, flag_N in flags.items()
    }
  return tables


def _with_overall(right_N: np.ndarray, binary_N: np.ndarray) -> Groups:
  two = by_group(right_N, binary_N, ("white", "non-white"))
  return Groups(
    (*two.names, "overall"),
    np.append(two.n_G, len(right_N)),
    np.append(two.mean_G, np.mean(right_N)),
  )

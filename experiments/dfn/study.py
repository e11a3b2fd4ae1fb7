"""Study of DFN: purity of a filter's data, and balancing before a filter."""

from experiments.curation import report, web_noise
from experiments.dfn import config, filter_pairs
from experiments.studies import claims
from experiments.sweeps import study

_SUBSET = "data.sources.main.subset"
# Share of the pool's captions that are right, and of those that replace pairs.
_RIGHT = sum(web_noise.SHARES[kind] for kind in report.RIGHT)
CLEAN, NOISY, LONG = "DFN, 100 %", "DFN, 51 %", "DFN, 51 %, 4 times as long"
RAW, RANDOM = "raw pool", "random quarter"
METACLIP, BOTH = "MetaCLIP", "MetaCLIP, then DFN"


def purity(name: str) -> float:
  """Return the expected share of a filter's pairs that are right, in %."""
  return 100 * (1 - (1 - _RIGHT) * filter_pairs.REPLACED[name])


def arm_of(name: str) -> str:
  """Return the arm that is trained on the selection of a filter."""
  return LONG if name == "noisy_long" else f"DFN, {purity(name):.0f} %"


def _arm(name: str, selection: str, group: str = "", x: float | None = None):
  path = f"{config.FOLDER}/selections/{selection}.npy" if selection else ""
  return claims.Arm(name, {_SUBSET: path}, group=group, x=x)


STUDY = claims.Study(
  claim=(
    "The purity of a filter's training pairs decides how good the pairs are"
    " that it selects, how good a model it is does not; and balancing before"
    " filtering is better than either alone."
  ),
  source=("arXiv 2309.17425, abstract; balancing before it: ours"),
  arms=(
    _arm(RAW, ""),
    _arm(RANDOM, "random"),
    *(
      _arm(arm_of(name), f"dfn_{name}", "DFN", purity(name))
      for name in filter_pairs.REPLACED
    ),
    _arm(LONG, "dfn_noisy_long", "filter 4 times as long", purity("noisy")),
    _arm(METACLIP, "metaclip"),
    _arm(BOTH, "metaclip_dfn"),
  ),
  figures=(
    *(
      claims.Figure(
        f"R@10, {label}",
        f"retrieval/{direction}/R@10",
        chance=10 / config.NUM_RETRIEVAL,
      )
      for label, direction in (
        ("image to text", "image_to_text"),
        ("text to image", "text_to_image"),
      )
    ),
    claims.Figure(
      "zero-shot top-1, mean of classes",
      "classes/mean_per_class",
      chance=1 / config.NUM_CLASSES,
    ),
    claims.Figure(
      "zero-shot top-5", "classes/top_5", chance=5 / config.NUM_CLASSES
    ),
  ),
  comparisons=tuple(
    claims.Comparison(a, b)
    for a, b in (
      (NOISY, CLEAN),
      (LONG, CLEAN),
      (RAW, CLEAN),
      (RANDOM, CLEAN),
      (METACLIP, BOTH),
      (CLEAN, BOTH),
    )
  ),
  chart=claims.Lines("right pairs among those of the filter, %"),
  num_seeds=3,
  run_minutes=1.5,
)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return STUDY.trials()

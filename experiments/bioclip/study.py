"""Study of captions: scientific names, all ranks, or five types a batch.

Each trial fine-tunes one base (README.md) on pictures of seen species. A model
is judged on unseen species by names of the type of its captions: figures
rare_sci/top_1, rare_taxon/top_1, ...
"""

from collections.abc import Mapping
from typing import Any

from configs import bioclip
from experiments.sweeps import study

# Name of the arm -> text types that its captions are of.
ARMS = {
  "sci": ("sci",),
  "com": ("com",),
  "taxon": ("taxon",),
  "five": (*bioclip.TEXT_TYPES,),
}
_SOURCE = "data.sources.main"


def get_study() -> list[Mapping[str, Any]]:
  """Return a trial for each arm and seed."""
  return [*study.seeds([_arm(types) for types in ARMS.values()], 3)]


def _arm(types: tuple[str, ...]) -> dict[str, Any]:
  texts = [(name, bioclip.TEXT_TYPES[name]) for name in types]
  fields = [
    (field, field)
    for field in ("sci", "com", "taxon")
    if any(f"{{{field}}}" in text for _, text in texts)
  ]
  return {
    f"{_SOURCE}.grammar": tuple((x, f"a photo of {y}.") for x, y in texts),
    f"{_SOURCE}.grammar_fields": tuple(fields),
  }

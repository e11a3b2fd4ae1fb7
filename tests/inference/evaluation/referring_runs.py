"""Runs with a decoder that learned boxes, and a table of regions."""

from configs.parts import sources
from evaluators.sets import kinds
from tests import tiny_joint
from tests.input_pipeline.regions import fixture

FIELDS = (("boxes", "boxes"), ("texts", "names"))


def make_values(folder, *, name="rows.jsonl"):
  """Write the table, and return the config of a run on it.

  Its one set of expressions, "things", is the table that it trains on, without
  the captions of the images.
  """
  path = fixture.write(folder / "table")
  source = sources.source(
    format="table",
    path=str(path.with_name(name)),
    caption=("caption",),
    region_fields=FIELDS,
  )
  values = tiny_joint.get_config("decoder")
  values.data.sources.main = source
  values.data.cache_dir = str(folder / "cache")
  values.data.regions.probabilities = (0.5, 0.5, 0.0)
  values.evaluate.batch_size = 8
  without = source.to_dict() | {"caption": ()}
  values.evaluate.sets.things = kinds.referring(without)
  return values

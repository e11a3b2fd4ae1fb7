"""Set of one's own items, whose images choose among texts: a section.

Probes of composition are made of it: FashionCLIP (arXiv 2204.03972) asks
whether a caption with both attributes of a product is nearer to its image than
captions in which one is swapped.
"""

import dataclasses
import typing

from evaluators.sets import field_set
from evaluators.sets.disk import items as items_lib
from runtime import checks


@dataclasses.dataclass(frozen=True)
class ChoicesConfig:
  """Section of an evaluation set of items.

  Attributes:
    kind: selects this section's dataclass.
    items: file of JSON lines, {"images": ["1.jpg"], "texts": ["a Nike dress",
      "a Puma dress"], "tag": "brand"} each: text i belongs to image i, further
      ones to none. All have as many images and texts. Paths of images are
      relative to the file's folder, or its folder images/.
  """

  kind: typing.Literal["selection"]
  items: str

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    if not self.items:
      checks.refuse(f"{field}.items must be a file of JSON lines; got ''")

  def open(self, name: str, cache_dir: str) -> field_set.FieldSet:
    """Return the set; ValueError where an item cannot be used."""
    field = f"evaluate.sets.{name}.items"
    return items_lib.own(name, self.items, field, cache_dir=cache_dir)

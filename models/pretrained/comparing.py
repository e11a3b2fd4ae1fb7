"""Settings in which two models differ, if they change an embedding."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from models import dual_encoder
from runtime import marks, sections


def differences(
  ours: dual_encoder.ModelConfig,
  theirs: dual_encoder.ModelConfig,
  ignored: str = "",
) -> dict[str, tuple[Any, Any]]:
  """Return {"model.image.pool": (ours, theirs), ...}.

  Fields that change no embedding are left out: those of computing and training,
  and those that a tower does not read. A field that one model lacks is None.

  Args:
    ours: one model.
    theirs: the other model.
    ignored: regular expression (fullmatch) of further fields, such as
      "embed_dim".
  """
  here, there = (
    sections.flat(dataclasses.asdict(model)) for model in (ours, theirs)
  )
  unread = _unread(here) & _unread(there)
  return {
    f"model.{name}": (here.get(name), there.get(name))
    for name in here | there
    if here.get(name) != there.get(name)
    and name not in unread
    and marks.of(dual_encoder.ModelConfig, name).embeds
    and not re.fullmatch(ignored, name)
  }


def _unread(fields: Mapping[str, Any]) -> set[str]:
  """Return the fields that this model's towers do not read."""
  unread = set()
  if fields.get("image.pool") != "queries":
    unread |= {"image.num_queries", "image.pool_heads"}
  if fields.get("text.tower") == "transformer":
    if not fields["text.mask_padding"] and fields["text.pool"] != "cls":
      unread.add("text.pad_id")
    if fields["text.pool"] != "eot":
      unread.add("text.eot_id")
  return unread

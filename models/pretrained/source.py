"""What is on disk: tensors by name, and the model's own description."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from models.pretrained import mapping


@dataclasses.dataclass(frozen=True)
class Source:
  """A published model as it was found.

  Attributes:
    path: the file or folder that was named.
    config: content of its config.json (transformers) or open_clip_config.json
      (open_clip); empty where there is none.
    tensors: by name there; may be read when asked for.
  """

  path: pathlib.Path
  config: Mapping[str, Any]
  tensors: mapping.Tensors

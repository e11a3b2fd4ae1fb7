"""Tasks of main.py, one file each.

A task's module has a docstring, whose first line is its entry in --help;
FLAGS, all flags that the task reads (any other is refused by name); and
run(), which returns the exit code. Modules import what they need in run(), so
that a misspelt flag is answered before JAX is imported.
"""

import types
from collections.abc import Mapping

from tasks import (
  caption,
  classify,
  compare,
  curate,
  detect,
  embed,
  evaluate,
  explain,
  export,
  fuse,
  index,
  inspect_data,
  launch,
  metadata,
  plan,
  prepare,
  search,
  serve,
  sweep,
  train,
  vqa,
)

TASKS: Mapping[str, types.ModuleType] = {
  "train": train,
  "evaluate": evaluate,
  "compare": compare,
  "search": search,
  "classify": classify,
  "caption": caption,
  "serve": serve,
  "explain": explain,
  "embed": embed,
  "index": index,
  "export": export,
  "curate": curate,
  "metadata": metadata,
  "prepare": prepare,
  "inspect-data": inspect_data,
  "plan": plan,
  "sweep": sweep,
  "launch": launch,
  "vqa": vqa,
  "detect": detect,
  "fuse": fuse,
}

"""Use of a model: embed, search, classify, explain, export.

`from inference import Model` is the entry for Python (python_model.py).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from inference.python_model import Model as Model

__all__ = ["Model"]


def __getattr__(name: str) -> Any:
  # Modules of this folder are imported without JAX by some tasks.
  if name == "Model":
    from inference.python_model import Model

    return Model
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Towers as ONNX models, converted by jax2onnx, checked in onnxruntime.

Its packages are in an environment of its own: see requirements-onnx.txt.
"""

import importlib
import logging
import types
import warnings
from typing import Any

import numpy as np

from inference.exporting import towers

SUFFIX = ".onnx"
# Largest difference of an embedding's value: other kernels sum in another
# order.
LIMIT = 1e-4
# Version of ONNX's operators: the default of jax2onnx 0.17.
OPSET = 23
# Towers that jax2onnx 0.17 converts. It does not know the depthwise convolution
# of the others, which JAX chooses by platform.
_TOWERS = ("vit", "resnet", "transformer", "bert")
OUTPUT = "embeddings"


def check(tower: towers.Tower) -> None:
  """Check that a tower can be converted here.

  Raises:
    ValueError: jax2onnx converts no tower of its kind.
    ModuleNotFoundError: a package is missing.
  """
  if tower.kind not in _TOWERS:
    raise ValueError(
      f"--format=onnx needs towers of {', '.join(_TOWERS)}, which jax2onnx"
      f" converts; got the {tower.name} tower {tower.kind!r}"
    )
  for name in ("onnx", "onnxruntime", "jax2onnx"):
    _module(name)


def serialise(tower: towers.Tower) -> tuple[bytes, dict[str, Any]]:
  """Return the file of a tower, and facts of it.

  Raises:
    ValueError: jax2onnx cannot convert the tower.
  """
  jax2onnx, onnx = _module("jax2onnx"), _module("onnx")
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # on types that it asks JAX for
      model = jax2onnx.to_onnx(
        tower.fn,
        [tower.spec()],
        model_name=f"{tower.name}_tower",
        opset=OPSET,
        input_names=[tower.input_name],
        output_names=[OUTPUT],
      )
  except Exception as error:  # whatever its plugins raise
    raise ValueError(
      f"--format=onnx: jax2onnx cannot convert the {tower.name} tower"
      f" ({tower.kind}): {str(error).splitlines()[0]}"
    ) from error
  onnx.checker.check_model(model)
  return model.SerializeToString(), {"opset": OPSET}


def embed(content: bytes, inputs: np.ndarray) -> np.ndarray:
  """Return what onnxruntime computes of inputs by a file."""
  session = _module("onnxruntime").InferenceSession(
    content, providers=["CPUExecutionProvider"]
  )
  return session.run([OUTPUT], {session.get_inputs()[0].name: inputs})[0]


def _module(name: str) -> types.ModuleType:
  # It logs a traceback for each package that it could convert, and lacks.
  logging.getLogger("jax2onnx").setLevel(logging.CRITICAL)
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f"--format=onnx needs the package {error.name}, in an environment of its"
      " own: see requirements-onnx.txt"
    ) from error

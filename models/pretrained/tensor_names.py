"""Names of tensors: wrappers that are taken off, adapters and quantisation.

PyTorch's wrappers (DistributedDataParallel, torch.compile, Lightning, FSDP)
prefix the names of all that they wrap. Adapters and quantised models have
tensors beside, or in place of, the weights.
"""

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from models.pretrained import tensor_files

# Prefixes that belong to no family's names.
WRAPPERS = (
  "base_model.model.",
  "module.",
  "model.",
  "_forward_module.",
  "clip.",
  "clip_model.",
  "state_dict.",
  "model_state_dict.",
  "ema_model.",
  "model_ema.",
  "student.",
  "teacher.",
  "net.",
)
# Parts of a name that a wrapper puts before a module, at any depth.
_PARTS = re.compile(
  r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Counter of torch.optim.swa_utils.AveragedModel, beside "module.".
_COUNTER = "n_averaged"
_ADAPTER = re.compile(
  r"(.*\.)?(lora_[a-zA-Z_]+|base_layer|modules_to_save|ia3_l|vera_lambda_.|"
  r"hada_w\d_.|lokr_w\d.*)(\..*)?"
)
# Names of the tensors that a scheme of quantisation adds, and the scheme.
_SCHEMES = (
  (r".*\.(qweight|qzeros|g_idx|scales)", "GPTQ or AWQ"),
  (
    r".*\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)",
    "bitsandbytes in 4 bits (nf4 or fp4)",
  ),
  (r".*\.(SCB|weight_format)", "bitsandbytes in 8 bits"),
  (
    r".*\.(weight_packed|weight_shape|weight_zero_point|weight_g_idx|"
    r"weight_global_scale|input_scale|input_zero_point|weight_scale(_inv)?)",
    "compressed-tensors or scaled float8",
  ),
  (
    r".*(:|[._]weight_)_?(qdata|data|scale|zero_point|tensor_data|tensor_impl"
    r"|int_data)(:.*)?",
    "torchao",
  ),
  (r".*\.weight\._(data|scale|shift)|.*\.output_scale", "quanto"),
  (r".*\.biases", "MLX"),
)
# Types of quantised numbers by safetensors' name; wider integers are counters.
_NARROW = {
  "F8_E4M3": "float8 e4m3",
  "F8_E5M2": "float8 e5m2",
  "F8_E4M3FNUZ": "float8 e4m3fnuz",
  "F8_E5M2FNUZ": "float8 e5m2fnuz",
  "F8_E8M0": "float8 e8m0",
  "F6_E2M3": "float6 e2m3",
  "F6_E3M2": "float6 e3m2",
  "F4": "float4",
  "I8": "int8",
  "U8": "uint8",
  "I16": "int16",
  "U16": "uint16",
  "I32": "int32",
  "U32": "uint32",
}
# Tables of indices, which are no parameters.
_INDICES = r"(.*[._])?(position_ids|token_type_ids|relative_position_index)"


class Renamed(Mapping[str, np.ndarray]):
  """Tensors of another mapping under other names."""

  def __init__(
    self, tensors: Mapping[str, np.ndarray], names: Mapping[str, str]
  ):
    """Keep both; `names` has the name there by the name here."""
    self._tensors, self._names = tensors, dict(names)

  def __getitem__(self, name: str) -> np.ndarray:
    return self._tensors[self._names[name]]

  def __contains__(self, name: object) -> bool:
    return name in self._names

  def __iter__(self) -> Iterator[str]:
    return iter(self._names)

  def __len__(self) -> int:
    return len(self._names)


def unwrapped(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
  """Return tensors without the wrappers' prefixes that all names share.

  Raises:
    ValueError: some names have a wrapper's prefix and others do not, or two
      tensors would have one name.
  """
  names = _renamed({n: n for n in tensors}, lambda name: _PARTS.sub("", name))
  while prefix := _wrapper(names):
    names.pop(_COUNTER, None)
    others = [name for name in names if not name.startswith(prefix)]
    if others:
      raise ValueError(
        f"{len(names) - len(others)} of {len(names)} tensors have names that"
        f" begin with {prefix!r}, and {others[0]} does not: expected all or"
        " none; rename them, or remove those that are not the model's"
      )
    names = _renamed(names, lambda name, n=len(prefix): name[n:])
  if all(name == there for name, there in names.items()):
    return tensors
  return Renamed(tensors, names)


def check_plain(tensors: Mapping[str, np.ndarray]) -> None:
  """Raise ValueError for an adapter or a quantised model, naming a tensor."""
  for name in tensors:
    if re.fullmatch(_ADAPTER, name):
      raise ValueError(
        f"tensor {name} is of an adapter that is not merged into its model:"
        " merge it (peft: merge_and_unload(), then save_pretrained) and give"
        " that folder"
      )
  for name in tensors:
    scheme = next((x for form, x in _SCHEMES if re.fullmatch(form, name)), "")
    kind = ""
    if isinstance(tensors, tensor_files.Tensors):
      kind, shape = tensors.form(name)
      if kind in _NARROW and (kind[0] == "F" or len(shape) > 1):
        scheme = scheme or "integers or floats of at most 8 bits"
        if re.fullmatch(_INDICES, name):
          continue
    if scheme:
      of = f" ({_NARROW.get(kind, kind)})" if kind else ""
      raise ValueError(
        f"tensor {name}{of} is of a quantised model ({scheme}), which is not"
        " read: give the model's float32, bfloat16 or float16 weights, or"
        " dequantise it with the library that wrote it and save it again"
      )


def _wrapper(names: Mapping[str, str]) -> str | None:
  return next(
    (x for x in WRAPPERS if any(name.startswith(x) for name in names)), None
  )


def _renamed(
  names: Mapping[str, str], rename: Callable[[str], str]
) -> dict[str, str]:
  """Return {new name: name in the file} of {name: name in the file}."""
  result: dict[str, str] = {}
  for name, there in names.items():
    if (new := rename(name)) in result:
      raise ValueError(
        f"tensors {result[new]} and {there} are both {new} without the"
        " prefixes of wrappers; remove one of them"
      )
    result[new] = there
  return result

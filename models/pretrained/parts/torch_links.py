"""Links of the modules that PyTorch files are made of."""

from collections.abc import Mapping

from models.pretrained import forms, mapping


def dense(
  ours: str, theirs: str, *, use_bias: bool = True, optional: bool = False
) -> tuple[mapping.Link, ...]:
  """Return links of a torch.nn.Linear."""
  kernel = mapping.link(
    f"{ours}/kernel", f"{theirs}.weight", forms.DENSE, optional=optional
  )
  bias = mapping.link(f"{ours}/bias", f"{theirs}.bias", optional=optional)
  return (kernel, bias) if use_bias else (kernel,)


def norm(ours: str, theirs: str) -> tuple[mapping.Link, ...]:
  """Return links of a torch.nn.LayerNorm."""
  return (
    mapping.link(f"{ours}/scale", f"{theirs}.weight"),
    mapping.link(f"{ours}/bias", f"{theirs}.bias"),
  )


def block(
  ours: str, theirs: str, names: Mapping[str, str]
) -> tuple[mapping.Link, ...]:
  """Return links of a transformer layer.

  Args:
    ours: path of the layer here.
    theirs: name of the layer there.
    names: from modules here, below `ours` ("attn/query", "attn_norm"), to those
      there.
  """
  links = []
  for module, name in names.items():
    make = norm if module.endswith("norm") else dense
    links += make(f"{ours}/{module}", f"{theirs}.{name}")
  return tuple(links)


def fused_attention(ours: str, theirs: str) -> tuple[mapping.Link, ...]:
  """Return links of a torch.nn.MultiheadAttention."""
  return (
    *side_by_side(ours, "query key value", f"{theirs}.in_proj_"),
    *dense(f"{ours}/out", f"{theirs}.out_proj"),
  )


def side_by_side(
  ours: str, names: str, theirs: str
) -> tuple[mapping.Link, ...]:
  """Return links of several affine maps of one input, which share two arrays.

  Args:
    ours: path of the maps' parent here.
    names: names of the maps here, separated by spaces.
    theirs: name of the arrays there, before "weight" and "bias".
  """
  parts = [f"{ours}/{name}" for name in names.split()]
  return (
    mapping.link(
      [f"{part}/kernel" for part in parts],
      f"{theirs}weight",
      forms.kernels(len(parts)),
    ),
    mapping.link(
      [f"{part}/bias" for part in parts],
      f"{theirs}bias",
      forms.biases(len(parts)),
    ),
  )

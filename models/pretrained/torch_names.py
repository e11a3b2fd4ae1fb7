"""Links of what torch.nn's modules hold."""

from models.pretrained import forms, mapping


def norm(ours: str, theirs: str) -> list[mapping.Link]:
  """Return the links of a torch.nn.LayerNorm."""
  return [
    mapping.link(f"{ours}/scale", f"{theirs}.weight"),
    mapping.link(f"{ours}/bias", f"{theirs}.bias"),
  ]


def dense(ours: str, theirs: str, *, bias: bool = True) -> list[mapping.Link]:
  """Return the links of a torch.nn.Linear."""
  links = [mapping.link(f"{ours}/kernel", f"{theirs}.weight", forms.DENSE)]
  if bias:
    links.append(mapping.link(f"{ours}/bias", f"{theirs}.bias"))
  return links


def attention(
  ours: str, theirs: str, *, apart: bool = False
) -> list[mapping.Link]:
  """Return the links of a torch.nn.MultiheadAttention.

  Args:
    ours: path of a layers.Attention.
    theirs: name of the module.
    apart: whether there are three kernels, as where keys have another width
      than queries, and not one of all.
  """
  inputs = [f"{ours}/{name}" for name in ("query", "key", "value")]
  kernels = [f"{path}/kernel" for path in inputs]
  if apart:
    links = [
      mapping.link(path, f"{theirs}.{letter}_proj_weight", forms.DENSE)
      for path, letter in zip(kernels, "qkv", strict=True)
    ]
  else:
    links = [
      mapping.link(kernels, f"{theirs}.in_proj_weight", forms.QKV_KERNEL)
    ]
  biases = [f"{path}/bias" for path in inputs]
  return [
    *links,
    mapping.link(biases, f"{theirs}.in_proj_bias", forms.QKV_BIAS),
    *dense(f"{ours}/out", f"{theirs}.out_proj"),
  ]

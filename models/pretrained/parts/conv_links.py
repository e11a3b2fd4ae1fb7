"""Links of the modules that convolutional towers in PyTorch are made of."""

from collections.abc import Mapping, Sequence

from models import batch_norm
from models.pretrained import forms, mapping

# Number of batches that torch.nn.BatchNorm2d counts; no output depends on it.
IGNORED = (r".*\.num_batches_tracked",)
# Leaves of a torch.nn.BatchNorm2d; a layer norm has the first two.
_NORM = {
  "scale": "weight",
  "bias": "bias",
  **{name: name for name in batch_norm.NAMES},
}


def conv(
  ours: str, theirs: str | Sequence[str], *, use_bias: bool = False
) -> tuple[mapping.Link, ...]:
  """Return links of a torch.nn.Conv2d, or of several that are stacked here."""
  links = [_link(f"{ours}/kernel", theirs, "weight", forms.CONV)]
  if use_bias:
    links.append(_link(f"{ours}/bias", theirs, "bias"))
  return tuple(links)


def norm(ours: str, theirs: str | Sequence[str]) -> tuple[mapping.Link, ...]:
  """Return links of a torch.nn.BatchNorm2d, or of several stacked here."""
  return tuple(
    _link(f"{ours}/{mine}", theirs, name) for mine, name in _NORM.items()
  )


def block(
  ours: str,
  theirs: str | Sequence[str],
  names: Mapping[str, str],
  *,
  with_bias: Sequence[str] = (),
) -> tuple[mapping.Link, ...]:
  """Return links of a residual block, or of several stacked here.

  Args:
    ours: path of the block here.
    theirs: name of the block there, or names.
    names: from modules here, below `ours` ("conv1", "norm1"), to those there.
    with_bias: keys of `names` that are convolutions with a bias.
  """
  links = []
  for module, name in names.items():
    full = (
      f"{theirs}.{name}"
      if isinstance(theirs, str)
      else [f"{x}.{name}" for x in theirs]
    )
    if module.rsplit("_", 1)[-1].startswith("norm"):
      links += norm(f"{ours}/{module}", full)
    else:
      links += conv(f"{ours}/{module}", full, use_bias=module in with_bias)
  return tuple(links)


def inverted_blocks(
  ours: str,
  theirs: Sequence[str],
  names: Mapping[str, str],
  *,
  expands: bool,
) -> tuple[mapping.Link, ...]:
  """Return links of a stage of models/efficientnet.py.

  Args:
    ours: path of the stage here.
    theirs: names of its blocks there.
    names: as in `block`; the convolutions of squeeze-and-excitation have a
      bias.
    expands: whether the blocks have their first convolution.
  """
  if not expands:
    names = {k: v for k, v in names.items() if not k.startswith("expand")}
  biased = ("squeeze", "excite")
  first, rest = theirs[0], theirs[1:]
  links = block(f"{ours}/first", first, names, with_bias=biased)
  if rest:
    links += block(f"{ours}/blocks", rest, names, with_bias=biased)
  return links


def _link(
  ours: str,
  theirs: str | Sequence[str],
  name: str,
  form: forms.Form = forms.SAME,
) -> mapping.Link:
  if isinstance(theirs, str):
    return mapping.link(ours, f"{theirs}.{name}", form)
  return mapping.link(
    ours, [f"{x}.{name}" for x in theirs], forms.stacked(form)
  )

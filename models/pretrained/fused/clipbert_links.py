"""ClipBERT's state dict, and ResNets as torchvision and detectron2 name them.

Links of `cnn` and `transformer` are those of models/fusion/clipbert.py.
"""

from collections.abc import Container, Sequence

from models import bert
from models.fusion import grid
from models.pretrained import mapping
from models.pretrained.families import hf_bert
from models.pretrained.parts import conv_links, torch_links

# Tensors that hold no parameter of ours: a detector's heads and pixels, a table
# of positions of visual tokens that the released code never reads, buffers.
IGNORED = (
  *conv_links.IGNORED,
  r"cnn\.feature\.(roi_heads|proposal_generator)\..*",
  r"cnn\.feature\.pixel_(mean|std)",
  r"transformer\.bert\.visual_embeddings\.position_embeddings\.weight",
  r".*position_ids",
)
# The same of a file of a ResNet alone: classifiers and a detector's heads.
IGNORED_ALONE = (
  *conv_links.IGNORED,
  r"fc\.(weight|bias)",
  r"stem\.fc\..*",
  r"(roi_heads|proposal_generator)\..*",
  r"pixel_(mean|std)",
)
_CNN = "cnn.feature.backbone."
_BERT = "transformer.bert."
_HEADS = "transformer.cls."
_NUMBERS = (1, 2, 3)
# Modules of a block here, and their names there.
_TORCHVISION = {
  **{f"conv{i}": f"conv{i}" for i in _NUMBERS},
  **{f"norm{i}": f"bn{i}" for i in _NUMBERS},
}
_TORCHVISION_SHORTCUT = {
  "shortcut": "downsample.0",
  "shortcut_norm": "downsample.1",
}
_DETECTRON2 = {
  **{f"conv{i}": f"conv{i}" for i in _NUMBERS},
  **{f"norm{i}": f"conv{i}.norm" for i in _NUMBERS},
}
_DETECTRON2_SHORTCUT = {
  "shortcut": "shortcut",
  "shortcut_norm": "shortcut.norm",
}


def resnet_of(
  config: grid.GridConfig, tensors: Container[str]
) -> tuple[tuple[mapping.Link, ...], str]:
  """Return links of a ResNet's file, and the `strides_in` of its naming.

  detectron2's ResNets, which were converted from Caffe's, have the strides in
  the first convolution of a block, torchvision's in the second.

  Args:
    config: fields of the ResNet.
    tensors: names of the file's tensors.

  Raises:
    ValueError: the names are of neither.
  """
  if "conv1.weight" in tensors:
    return torchvision_resnet(config), "conv2"
  for prefix in ("", "backbone.bottom_up.", "backbone.", _CNN):
    if f"{prefix}stem.conv1.weight" in tensors:
      return detectron2_resnet(config, prefix=prefix), "conv1"
  raise ValueError(
    "expected a ResNet as torchvision or detectron2 names its tensors,"
    " conv1.weight or stem.conv1.weight; got neither"
  )


def pretrains(tensors: Container[str]) -> bool:
  """Return whether a state dict has the heads of pre-training."""
  return f"{_HEADS}seq_relationship.weight" in tensors


def num_out(tensors: mapping.Tensors) -> int:
  """Return the outputs of a state dict's classifier; 0 without one."""
  name = "transformer.classifier.2.weight"
  return len(tensors[name]) if name in tensors else 0


def torchvision_resnet(
  config: grid.GridConfig, ours: str = "cnn"
) -> tuple[mapping.Link, ...]:
  """Return links of torchvision's ResNet, without its classifier `fc`."""
  links = [
    *conv_links.conv(f"{ours}/stem/conv", "conv1"),
    *conv_links.norm(f"{ours}/stem/norm", "bn1"),
  ]
  for i, depth in enumerate(config.depths):
    links += _stage(
      *(f"{ours}/stages/{i}", f"layer{i + 1}", depth),
      names=_TORCHVISION,
      shortcut=_TORCHVISION_SHORTCUT,
    )
  return tuple(links)


def detectron2_resnet(
  config: grid.GridConfig, ours: str = "cnn", prefix: str = _CNN
) -> tuple[mapping.Link, ...]:
  """Return links of detectron2's ResNet, whose names begin with `prefix`."""
  links = [
    *conv_links.conv(f"{ours}/stem/conv", f"{prefix}stem.conv1"),
    *conv_links.norm(f"{ours}/stem/norm", f"{prefix}stem.conv1.norm"),
  ]
  for i, depth in enumerate(config.depths):
    links += _stage(
      *(f"{ours}/stages/{i}", f"{prefix}res{i + 2}", depth),
      names=_DETECTRON2,
      shortcut=_DETECTRON2_SHORTCUT,
    )
  return tuple(links)


def transformer(
  text: bert.BertConfig, *, pretrains: bool
) -> tuple[mapping.Link, ...]:
  """Return links of BERT, the visual tokens and a task's heads.

  Args:
    text: config of BERT.
    pretrains: whether the heads are those of masked words and of matching.
  """
  visual = f"{_BERT}visual_embeddings"
  links = [
    *hf_bert.text_links(text, _BERT),
    *conv_links.conv("visual/encoder", "cnn.grid_encoder.0"),
    *torch_links.norm("visual/norm", f"{visual}.LayerNorm"),
  ]
  for ours, theirs in (
    ("row", "row_position"),
    ("column", "col_position"),
    ("type_embedding", "token_type"),
  ):
    links.append(
      mapping.link(f"visual/{ours}", f"{visual}.{theirs}_embeddings.weight")
    )
  if not pretrains:
    links += torch_links.dense("answers/up", "transformer.classifier.0")
    links += torch_links.dense("answers/down", "transformer.classifier.2")
    return tuple(links)
  predictions = f"{_HEADS}predictions"
  return (
    *links,
    *torch_links.dense("words/dense", f"{predictions}.transform.dense"),
    *torch_links.norm("words/norm", f"{predictions}.transform.LayerNorm"),
    mapping.link("words/bias", f"{predictions}.bias"),
    *torch_links.dense("matching", f"{_HEADS}seq_relationship"),
  )


def tied(pretrains: bool) -> tuple[str, ...]:
  """Return tensors that repeat others: the decoder of words and its bias."""
  if not pretrains:
    return ()
  return (r"transformer\.cls\.predictions\.decoder\.(weight|bias)",)


def _stage(
  ours: str, theirs: str, depth: int, *, names: dict, shortcut: dict
) -> Sequence[mapping.Link]:
  links = conv_links.block(f"{ours}/first", f"{theirs}.0", names | shortcut)
  if depth > 1:
    rest = [f"{theirs}.{j}" for j in range(1, depth)]
    links += conv_links.block(f"{ours}/blocks", rest, names)
  return links

"""OpenAI's CLIP: a state dict of its released archives, as safetensors.

Sizes are read from the tensors. The other fields are the same in all archives:
QuickGELU, heads of 64, and the highest id as the end of text.
"""

from models import dual_encoder
from models.pretrained import mapping, opening
from models.pretrained.families import open_clip
from models.pretrained.parts import clip_resnet, clip_transformers, openai_names

IGNORED = (*openai_names.ARCHIVE_ONLY, *clip_resnet.IGNORED)

_HEAD_WIDTH = 64
_ACTIVATION = "quick_gelu"


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether the tensors are OpenAI's, not open_clip's of those names."""
  return (
    not files.config
    and "logit_scale" in files.tensors
    and "token_embedding.weight" in files.tensors
    and any(name in files.tensors for name in openai_names.ARCHIVE_ONLY)
  )


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model that the shapes describe."""
  tensors = files.tensors
  # Known of OpenAI's archives, so nothing is said.
  chosen = opening.choose(files, {"activation": _ACTIVATION}, say=False)
  shared = {
    "activation": chosen["activation"],
    "norm_epsilon": clip_transformers.NORM_EPSILON,
  }
  text = openai_names.text_sizes(tensors)
  if clip_resnet.recognises_image(tensors):
    image = clip_resnet.read_image(tensors)[0]
  else:
    sizes = openai_names.image_sizes(tensors, _HEAD_WIDTH)
    image = clip_transformers.make_image(**sizes, **shared)
  return clip_transformers.make_model(
    tensors["text_projection"].shape[1],
    image,
    clip_transformers.make_text(
      **clip_transformers.highest_id(text["vocab_size"]) | text, **shared
    ),
    scale_init=mapping.scale(tensors, "logit_scale"),
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file; open_clip has the same names."""
  return open_clip.links(model)

"""Image protocol and tokenizer of a published model, from files beside it."""

import json

from input_pipeline import model_inputs, tokenizers
from input_pipeline.images import image_protocols, naflex
from models import dual_encoder
from models import naflex as naflex_tower
from models.pretrained import families, opening, pixels


def image_protocol(
  path: str,
  family: str,
  config: dual_encoder.ModelConfig,
  files: opening.PublishedFiles,
) -> model_inputs.Protocol:
  """Return the image protocol of a published model.

  Args:
    path: path of the model as the user wrote it, for messages.
    family: its name.
    config: as models.pretrained.loading.read_config returns it.
    files: the model's; their tensors are not read.

  Raises:
    ValueError: there is no image tower, or no protocol of ours is described.
  """
  try:
    return _image_protocol(family, config, files)
  except (ValueError, OSError) as error:
    raise ValueError(f"{path} cannot see images: {error}") from error


def tokenizer(
  path: str, config: dual_encoder.ModelConfig, files: opening.PublishedFiles
) -> tokenizers.Tokenizer:
  """Return the tokenizer of a published model; arguments as above.

  Raises:
    ValueError: there is no text tower, no vocabulary, or one that is larger
      than the model's.
  """
  try:
    return _tokenizer(config, files)
  except (ValueError, OSError) as error:
    raise ValueError(f"{path} cannot read texts: {error}") from error


def _image_protocol(
  family: str,
  config: dual_encoder.ModelConfig,
  files: opening.PublishedFiles,
) -> model_inputs.Protocol:
  if config.image is None:
    raise ValueError("there is no image tower")
  if isinstance(config.image, naflex_tower.NaFlexConfig):
    return naflex.Protocol(
      config.image.patch_size,
      config.image.max_num_patches,
      config.image_mean,
      config.image_std,
    )
  preprocessor = files.folder / pixels.PREPROCESSOR
  if "preprocess_cfg" in files.config:
    protocol = image_protocols.from_open_clip(files.config["preprocess_cfg"])
  elif preprocessor.is_file():
    content = json.loads(preprocessor.read_text(encoding="utf-8"))
    protocol = image_protocols.from_hf(content)
  elif family in families.IMAGE_PROTOCOLS:
    named = image_protocols.PROTOCOLS[families.IMAGE_PROTOCOLS[family]]
    return named.at(config.image.image_size).with_statistics(
      config.image_mean, config.image_std
    )
  else:
    raise ValueError(f"there is no {pixels.PREPROCESSOR} in {files.folder}")
  if protocol.size != config.image.image_size:
    protocol = protocol.at(config.image.image_size)
  return protocol


def _tokenizer(
  config: dual_encoder.ModelConfig, files: opening.PublishedFiles
) -> tokenizers.Tokenizer:
  if config.text is None:
    raise ValueError("there is no text tower")
  made = tokenizers.load(files.folder, num_tokens=config.text.num_tokens)
  if made.vocab_size > config.text.vocab_size:
    raise ValueError(
      f"the tokenizer in {files.folder} has {made.vocab_size} entries; the"
      f" model has {config.text.vocab_size}"
    )
  return made

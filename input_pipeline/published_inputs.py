"""Image protocol and tokenizer of a published model, from files beside it."""

from input_pipeline import model_inputs, tokenizers
from input_pipeline.images import image_protocols, naflex
from models import dual_encoder, efficientnet
from models import naflex as naflex_tower
from models.pretrained import families, opening, pixels
from models.pretrained.parts import hf_json
from runtime import notices


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
    with opening.reading(files.folder):
      return _image_protocol(family, config, files)
  except (ValueError, OSError) as error:
    raise ValueError(
      f"{path} cannot see images: {_reason(path, error)}"
    ) from error


def tokenizer(
  path: str, config: dual_encoder.ModelConfig, files: opening.PublishedFiles
) -> tokenizers.Tokenizer:
  """Return the tokenizer of a published model; arguments as above.

  Raises:
    ValueError: there is no text tower, no vocabulary, or one that is larger
      than the model's.
  """
  try:
    with opening.reading(files.folder):
      return _tokenizer(config, files)
  except (ValueError, OSError) as error:
    raise ValueError(
      f"{path} cannot read texts: {_reason(path, error)}"
    ) from error


def _reason(path: str, error: Exception) -> str:
  return str(error).removeprefix(f"{path}: ")


def _image_protocol(
  family: str,
  config: dual_encoder.ModelConfig,
  files: opening.PublishedFiles,
) -> model_inputs.Protocol:
  if config.image is None:
    raise ValueError("there is no image tower")
  processor = pixels.read_processor(files.folder)
  _say_differing(files, processor)
  kind = pixels.full_name(processor.fields)
  if kind and not pixels.is_known(pixels.class_name(processor.fields)):
    notices.say_once(
      f"{files.path}: {processor.name} names the class {kind}, which is not"
      " known here: its fields are followed as those of known classes are"
    )
  if isinstance(config.image, naflex_tower.NaFlexConfig):
    return _naflex_protocol(config, config.image, files, processor)
  if "preprocess_cfg" in files.config:
    protocol = image_protocols.from_open_clip(files.config["preprocess_cfg"])
  elif processor.name:
    protocol = image_protocols.from_hf(processor.fields, processor.name)
  elif family in families.IMAGE_PROTOCOLS:
    named = image_protocols.PROTOCOLS[families.IMAGE_PROTOCOLS[family]]
    protocol = named.at(config.image.image_size).with_statistics(
      config.image_mean, config.image_std
    )
    notices.say_once(
      f"{files.path} has no image processor in {pixels.PROCESSOR} or"
      f" {pixels.PREPROCESSOR}; assumed {family}'s usual pixels:"
      f" {model_inputs.in_words(protocol)}"
    )
    return protocol
  else:
    raise ValueError(
      f"there is no image processor in {pixels.PREPROCESSOR} or"
      f" {pixels.PROCESSOR} of {files.folder}"
    )
  # EfficientNet has no positions: it takes the size that is described.
  fixed = not isinstance(config.image, efficientnet.EfficientNetConfig)
  if fixed and protocol.size != config.image.image_size:
    described = protocol.size
    protocol = protocol.at(config.image.image_size)
    notices.say_once(
      f"{files.path}: its images are described with {described} pixels, its"
      f" tower takes {protocol.size}: assumed {model_inputs.in_words(protocol)}"
    )
  return protocol


def _naflex_protocol(
  config: dual_encoder.ModelConfig,
  image: naflex_tower.NaFlexConfig,
  files: opening.PublishedFiles,
  processor: pixels.Processor,
) -> naflex.Protocol:
  protocol = naflex.Protocol(
    image.patch_size,
    image.max_num_patches,
    config.image_mean,
    config.image_std,
  )
  expected = protocol.to_hf()
  kind = pixels.class_name(processor.fields)
  if kind not in ("", "Siglip2"):
    raise ValueError(
      f"{processor.name}: image_processor_type must be"
      f" {expected['image_processor_type']} for this tower; got"
      f" {pixels.full_name(processor.fields)}"
    )
  for field in ("resample", "patch_size", "do_resize"):
    got = processor.fields.get(field, expected[field])
    if got != expected[field]:
      raise ValueError(
        f"{processor.name}: {field} must be {expected[field]} for this tower;"
        f" got {got!r}"
      )
  if not processor.name:
    notices.say_once(
      f"{files.path} has no image processor in {pixels.PROCESSOR} or"
      f" {pixels.PREPROCESSOR}; assumed NaFlex's usual pixels:"
      f" {model_inputs.in_words(protocol)}"
    )
  return protocol


def _say_differing(
  files: opening.PublishedFiles, processor: pixels.Processor
) -> None:
  if not processor.differing:
    return
  names = [pixels.PROCESSOR, pixels.PREPROCESSOR]
  names.remove(processor.name)
  fields = [
    f"{name} {here!r} (there {there!r})"
    for name, (here, there) in processor.differing.items()
  ]
  notices.say_once(
    f"{files.path}: {processor.name} and {names[0]} differ; taken from"
    f" {processor.name}: {', '.join(fields)}"
  )


def _tokenizer(
  config: dual_encoder.ModelConfig, files: opening.PublishedFiles
) -> tokenizers.Tokenizer:
  if config.text is None:
    raise ValueError("there is no text tower")
  # As sentence-transformers, which cuts texts to fewer tokens than its model.
  sentence = hf_json.beside(files, "sentence_bert_config.json")
  most = sentence.get("max_seq_length") or config.text.num_tokens
  made = tokenizers.load(
    files.folder,
    num_tokens=min(most, config.text.num_tokens),
    as_open_clip="model_cfg" in files.config,
  )
  if made.vocab_size > config.text.vocab_size:
    raise ValueError(
      f"the tokenizer in {files.folder} has {made.vocab_size} entries; the"
      f" model has {config.text.vocab_size}"
    )
  eot_id, eos_id = config.text.eot_id, made.rule.eos_id
  if getattr(config.text, "pool", "") == "eot" and eos_id not in (None, eot_id):
    # Transformers and open_clip would pool the first token of every text.
    raise ValueError(
      f"its config pools the id {eot_id}, but its tokenizer ends texts with"
      f" {eos_id}; expected the same end of text in both"
    )
  return made

"""Tokenizer and image protocol of a run.

They are its folder's own where it holds them. Otherwise the tokenizer is that
of the model that the run starts from, or of the config; the image protocol is
the config's, the starting model's, or follows from the augmentation.
"""

import dataclasses
import pathlib

from input_pipeline import model_inputs, pipeline, published_inputs, tokenizers
from input_pipeline.images import image_protocols
from input_pipeline.tokenizers import cleaning, rules, tokenizer
from models import dual_encoder
from models.pretrained import families, loading, opening
from runtime.storage import bucket_path
from training import config as config_lib
from training import metrics
from training.run import workdir

_EMBEDDING = "txt/token_embedding"
# Texts that no cleaning changes: only another vocabulary gives them other ids.
_PLAIN = (
  "a photo of two cats on the beach at sunset",
  "wooden hardback encyclopedias beneath fluorescent laboratory lamps",
  "el perro come una manzana roja",
  "привет мир",
  "東京の写真",
)


def find(
  folder: pathlib.Path, config: config_lib.Config, *, begun: bool
) -> model_inputs.ModelInputs:
  """Return the inputs of a run.

  Args:
    folder: folder of the run.
    config: checked config of the run.
    begun: whether the run has a checkpoint.

  Raises:
    FileNotFoundError, ValueError: no tokenizer can be made, or it does not fit
      the starting weights or the text tower; the message names the field.
  """
  if begun:
    made = find_tokenizer(folder, config)
    protocol = find_protocol(folder, config)
  else:  # files of a run that ended without a checkpoint do not count
    made, protocol = _new_tokenizer(config), _new_protocol(config)
  config.check_text_ids(made.rule)
  return model_inputs.ModelInputs(protocol, made)


def find_tokenizer(
  folder: pathlib.Path, config: config_lib.Config
) -> tokenizers.Tokenizer:
  """Return the tokenizer of a run that has a checkpoint.

  A run that an earlier version began holds no vocabulary. One that is trained
  follows from the data as they are now, which is said.

  Raises:
    FileNotFoundError, ValueError: the tokenizer's files are damaged or missing.
  """
  made = model_inputs.read_tokenizer(folder)
  if made is not None:
    return made
  if (folder / model_inputs.IMAGE_PROTOCOL).exists():
    # A run has both, or was begun by a version that wrote neither.
    raise FileNotFoundError(
      f"{folder / model_inputs.TOKENIZER} is missing, which holds the run's"
      " vocabulary; restore it from a copy"
    )
  if config.data.tokenizer in tokenizers.TRAINED:
    metrics.say(
      f"{folder} holds no vocabulary (an earlier version began it): it is"
      " trained on the captions again, and is the run's only if they have not"
      " changed"
    )
  return _made_tokenizer(config)


def find_protocol(
  folder: pathlib.Path, config: config_lib.Config
) -> model_inputs.Protocol:
  """Return the image protocol of a run, begun or new; see `find`.

  Raises:
    ValueError: its file is damaged, or of another image size.
  """
  started_with = workdir.read_config(folder)
  if (
    started_with
    and started_with.data.image_protocol == config.data.image_protocol
    and (protocol := model_inputs.read_protocol(folder))
  ):
    if started_with.phases:  # the file has the size of the first one
      return fitted(protocol, config.data)
    size = getattr(protocol, "size", config.data.image_size)
    if size != config.data.image_size:
      raise ValueError(
        f"{folder / model_inputs.IMAGE_PROTOCOL} has size {size}; expected"
        f" data.image_size={config.data.image_size}"
      )
    return protocol
  return _new_protocol(config)


def fitted(
  protocol: model_inputs.Protocol, data: pipeline.DataConfig
) -> model_inputs.Protocol:
  """Return a run's image protocol in the size of a phase's data.

  A phase may begin to cut images into patches, or end to: its protocol then is
  that of its augmentation, with the same statistics.
  """
  is_square = isinstance(protocol, image_protocols.Protocol)
  if is_square == data.augmentation.is_naflex:
    return data.augmentation.evaluation_protocol(
      data.image_size, protocol.mean, protocol.std
    )
  if isinstance(protocol, image_protocols.Protocol):
    same = protocol.size == data.image_size
    return protocol if same else protocol.at(data.image_size)
  return dataclasses.replace(
    protocol, max_num_patches=data.augmentation.max_num_patches
  )


def check_early(folder: pathlib.Path, config: config_lib.Config) -> None:
  """Check text ids that are known before data are opened.

  A begun run has its tokenizer, and needs no vocabulary elsewhere.

  Raises:
    FileNotFoundError, ValueError: the vocabulary cannot be used, or an id of
      the text tower is not the tokenizer's.
  """
  begun = workdir.has_checkpoint(folder)
  if begun and (made := model_inputs.read_tokenizer(folder)) is not None:
    config.check_text_ids(made.rule)
    return
  is_own = not _text_start(config)[0] or config.is_excepted(_EMBEDDING)
  if config.data.tokenizer in tokenizers.WITHOUT_FILE:
    if is_own:
      config.check_text_ids(rules.run(config.data.num_tokens))
  elif is_own or config.data.tokenizer_path:
    config.check_text_ids(_made_tokenizer(config).rule)


def _text_start(config: config_lib.Config) -> tuple[str, str]:
  """Return field and path of the text tower's weights; ("", "") for none."""
  for field in ("init_from", "init_text_from"):
    if path := getattr(config, field):
      return (f"--config.{field}={path}", path)
  return "", ""


def _new_tokenizer(config: config_lib.Config) -> tokenizers.Tokenizer:
  data = config.data
  field, path = _text_start(config)
  if not path or config.is_excepted(_EMBEDDING):
    return _made_tokenizer(config)
  # A vocabulary that no field names is the starting model's.
  named = data.tokenizer_path or data.tokenizer == "bytes"
  try:
    theirs = _tokenizer_of(path, config)
  except (ValueError, OSError) as error:
    if data.tokenizer in tokenizers.TRAINED:
      raise ValueError(
        f"{field} has no tokenizer ({_line(error)}), and data.tokenizer="
        f'"{data.tokenizer}" would train one with other ids than its token'
        " embedding has: give data.tokenizer and data.tokenizer_path, or"
        f' init_except=("{_EMBEDDING}",)'
      ) from error
    metrics.say(
      f"{field} has no tokenizer ({_line(error)}); data.tokenizer="
      f'"{data.tokenizer}" is taken to be its own'
    )
    return _made_tokenizer(config)
  if not named:
    metrics.say(
      f"Tokenizer: that of {path}, {theirs.vocab_size:,} entries, in place of"
      f' data.tokenizer="{data.tokenizer}"'
    )
    return tokenizer.check_size(theirs, f"of {path}", data.vocab_size)
  ours = _made_tokenizer(config)
  alternative = 'leave data.tokenizer_path ""'
  if data.tokenizer == "bytes":
    alternative = 'give another data.tokenizer, as "bpe",'
  if any(_ids(ours, text) != _ids(theirs, text) for text in _PLAIN):
    raise ValueError(
      f'data.tokenizer="{data.tokenizer}" with data.tokenizer_path='
      f'"{data.tokenizer_path}" gives other ids than the tokenizer of {path},'
      f" whose token embedding the run starts from: {alternative} to take that"
      f' one, or set init_except=("{_EMBEDDING}",)'
    )
  differing = [
    f"{name} is {getattr(ours.rule, name)!r} in the run, {value!r} there"
    for name, value in dataclasses.asdict(theirs.rule).items()
    if name != "num_tokens" and getattr(ours.rule, name) != value
  ]
  if differing:
    metrics.say(
      f'data.tokenizer="{data.tokenizer}" has another rule than the tokenizer'
      f" of {path}: {'; '.join(differing)}"
    )
  return ours


def _made_tokenizer(config: config_lib.Config) -> tokenizers.Tokenizer:
  """Return the tokenizer of the config; none is trained on held-out texts."""
  return pipeline.make_tokenizer(config.data, share=config.evaluate.holdout)


def _ids(made: tokenizers.Tokenizer, text: str) -> list[int]:
  """Return the ids of a text alone, whatever the length of a row."""
  clean = cleaning.CLEANINGS[made.rule.clean]
  return made.codec.encode(clean(text))


def _tokenizer_of(path: str, config: config_lib.Config) -> tokenizers.Tokenizer:
  """Return the tokenizer of a run or a published model, in our length."""
  folder = bucket_path.make(path)
  if not workdir.is_run(folder):
    _, theirs, files = _published(path)
    made = published_inputs.tokenizer(path, theirs, files)
  else:
    made = find_tokenizer(folder, _config_of(folder))
  return made.of_length(config.data.num_tokens)


def _new_protocol(config: config_lib.Config) -> model_inputs.Protocol:
  data, model = config.data, config.model
  statistics = model.image_mean, model.image_std
  trained = data.augmentation.evaluation_protocol(data.image_size, *statistics)
  if data.augmentation.is_naflex or data.image_protocol == "training":
    return trained
  if data.image_protocol:
    named = image_protocols.PROTOCOLS[data.image_protocol]
    chosen = named.at(data.image_size).with_statistics(*statistics)
    return _compared(chosen, trained, f"data.image_protocol={named.name}")
  path = config.init_from or config.init_image_from
  if not path:
    return trained
  try:
    theirs = _protocol_of(path)
  except (ValueError, OSError) as error:
    if workdir.is_run(bucket_path.make(path)):  # it has one, which is damaged
      raise
    metrics.say(
      f"Image protocol: {model_inputs.describe(trained)}, as"
      f" data.augmentation trains; {path} describes none ({_line(error)})"
    )
    return trained
  if not isinstance(theirs, image_protocols.Protocol):
    return trained
  theirs = theirs.at(data.image_size).with_statistics(*statistics)
  return _compared(theirs, trained, path)


def _protocol_of(path: str) -> model_inputs.Protocol:
  folder = bucket_path.make(path)
  if not workdir.is_run(folder):
    return published_inputs.image_protocol(path, *_published(path))
  return find_protocol(folder, _config_of(folder))


def _config_of(folder: pathlib.Path) -> config_lib.Config:
  started_with = workdir.read_config(folder)
  assert started_with is not None  # workdir.is_run
  return started_with


def _published(
  path: str,
) -> tuple[str, dual_encoder.ModelConfig, opening.PublishedFiles]:
  """Return the family's name, the config and the files of a published model."""
  files = opening.open_model(path)
  family = loading.find_family(files)
  return families.name(family), loading.read_config(family, files), files


def _compared(
  chosen: image_protocols.Protocol,
  trained: model_inputs.Protocol,
  origin: str,
) -> image_protocols.Protocol:
  """Return the chosen protocol; say it, and where training has another."""
  here, there = model_inputs.describe(chosen), model_inputs.describe(trained)
  metrics.say(
    f"Image protocol: {here}, of {origin}"
    + (
      f"; data.augmentation trains on another geometry: {there}"
      if here != there
      else ""
    )
  )
  return chosen


def _line(error: Exception) -> str:
  return str(error).splitlines()[0]

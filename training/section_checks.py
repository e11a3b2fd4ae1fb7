"""Checks of sections of a config that must fit together.

Checks of the losses beside that of pairs are in joint_config.py.
"""

import operator
from collections.abc import Sequence

import losses
from evaluators import suite_data, summary
from input_pipeline import pipeline
from losses import clips
from models import bert, class_head, dual_encoder, naflex, swin, vit
from models.fusion import fusion_config
from runtime import checks


def check_towers(
  data: pipeline.DataConfig, model: dual_encoder.ModelConfig, *, is_fused: bool
) -> None:
  """Refuse towers whose inputs are not what the data have.

  Args:
    data: section `data`.
    model: section `model`.
    is_fused: whether it is a fused model, whose text tower may be longer.
  """
  # `from_mapping` refuses None.
  assert model.image is not None
  if data.augmentation.is_naflex and not isinstance(
    model.image, naflex.NaFlexConfig
  ):
    checks.refuse(
      'data.augmentation.resize="naflex" makes patches, which only a tower'
      f' "naflex" reads; got model.image.tower={model.image.tower!r}'
    )
  fields = [
    ("image.image_size", "image_size"),
    ("text.num_tokens", "num_tokens"),
    ("text.vocab_size", "vocab_size"),
  ]
  if data.augmentation.is_naflex:
    fields += [
      ("image.patch_size", "augmentation.patch_size"),
      ("image.max_num_patches", "augmentation.max_num_patches"),
    ]
  for tower_field, data_field in fields:
    wanted = operator.attrgetter(data_field)(data)
    got = operator.attrgetter(tower_field)(model)
    # A fused model's BERT may keep all positions of published weights.
    is_longer = is_fused and data_field == "num_tokens"
    if got != wanted and not (is_longer and got > wanted):
      rule = "be at least" if is_longer else "equal"
      checks.refuse(
        f"model.{tower_field} must {rule} data.{data_field}={wanted}; got {got}"
      )


def check_patch_counts(
  counts: Sequence[int], num_updates: int, other_tasks: Sequence[str]
) -> None:
  """Refuse numbers of patches in models that read none, and idle updates."""
  for section in other_tasks:
    if counts:
      checks.refuse(
        f"data.augmentation.patch_counts must be () with config.{section},"
        f" whose batches have one shape; got {counts}"
      )
  if num_updates > 1 and not counts:
    checks.refuse(
      "num_largest_updates must be 1 without data.augmentation.patch_counts,"
      f" of whose largest it is; got {num_updates}"
    )


def check_train_length(
  data: pipeline.DataConfig, lengths: Sequence[int], others: Sequence[str]
) -> None:
  """Refuse a length of training's captions that a run cannot have.

  Args:
    data: section `data`.
    lengths: text_lengths of the config.
    others: sections whose losses read whole captions.
  """
  length, field = data.train_num_tokens, "data.train_num_tokens"
  if not length:
    return
  if not 2 <= length < data.num_tokens:  # one token and the end of text
    checks.refuse(
      f"{field} must be 0, or at least 2 and below"
      f" data.num_tokens={data.num_tokens}; got {length}"
    )
  if not data.cut_captions:
    checks.refuse(
      f"{field} must be 0 with data.cut_captions=False, which calls a longer"
      f" caption a fault; got {length}"
    )
  if lengths and lengths[-1] >= length:
    checks.refuse(
      f"text_lengths must be below {field}={length}; got {tuple(lengths)}"
    )
  for section in others:
    checks.refuse(
      f"{field} must be 0 with config.{section}, which reads whole captions;"
      f" got {length}"
    )


def check_fusion(
  fusion: fusion_config.FusionConfig,
  data: pipeline.DataConfig,
  model: dual_encoder.ModelConfig,
  lengths: Sequence[int],
) -> None:
  """Refuse losses and towers that a fused model cannot be made of."""
  kind, text = fusion.kind, model.text
  if not kind:
    return
  checks.one_of("fusion.aggregate", fusion.aggregate, clips.AGGREGATES)
  if fusion.reads_images and data.video.is_on:
    checks.refuse(
      f"data.video.clips must be 0 with fusion.kind={kind!r} and"
      f" fusion.task={fusion.task!r}, which reads images; got"
      f" {data.video.clips}"
    )
  if not isinstance(text, bert.BertConfig):
    checks.refuse(
      f"model.text.tower must be 'bert' with fusion.kind={kind!r}; got"
      f" {getattr(text, 'tower', None)!r}"
    )
  elif kind == "clipbert" and (text.pool != "pooler" or text.projection):
    checks.refuse(
      "model.text.pool must be 'pooler' and model.text.projection False with"
      f" fusion.kind='clipbert'; got {text.pool!r} and {text.projection}"
    )
  towers = vit.ViTConfig | swin.SwinConfig
  if kind == "meter" and not isinstance(model.image, towers):
    checks.refuse(
      "model.image.tower must be 'vit' or 'swin' with fusion.kind='meter';"
      f" got {getattr(model.image, 'tower', None)!r}"
    )
  elif getattr(model.image, "pool", "") == "queries":
    checks.refuse(
      "model.image.pool must not be 'queries' with fusion.kind='meter',"
      " whose norm follows the pooling; got 'queries'"
    )
  if lengths:
    checks.refuse(
      f"text_lengths must be () with fusion.kind={kind!r}; got {lengths}"
    )


def check_head(
  loss: losses.LossConfig,
  head: class_head.HeadConfig,
  evaluate: suite_data.EvaluateConfig,
) -> None:
  """Refuse classes without their loss, and sets without classes."""
  is_classes = loss.name == losses.CLASSES
  if is_classes != bool(head.classes):
    checks.refuse(
      f"model.head.classes must name classes with loss.name="
      f"{losses.CLASSES!r}, and be () with others; got"
      f" {head.classes!r} with loss.name={loss.name!r}"
    )
  for name, section in evaluate.sets.items():
    if getattr(section, "head", False) and not is_classes:
      checks.refuse(
        f"evaluate.sets.{name}.head must be False without model.head.classes;"
        " got True"
      )
  if is_classes and evaluate.loss:
    checks.refuse(
      f"evaluate.loss must be False with loss.name={losses.CLASSES!r}, as it"
      " is the loss of pairs; got True"
    )


def check_selection(
  figure: str, evaluate: suite_data.EvaluateConfig, sets: Sequence[str]
) -> None:
  """Refuse a figure of checkpoint.select that no evaluation will have."""
  names = [name for one in sets for name in (one, f"{one}.sample")]
  prefix = f"{summary.ZERO_SHOT}/"
  set_name, _, rest = figure.removeprefix(prefix).partition("/")
  if set_name not in names or not rest:
    checks.refuse(
      f"checkpoint.select must be SET/FIGURE, of one of the sets"
      f" {', '.join(sets) or '(none)'}; got {figure!r}"
    )
  if not evaluate.every_steps:
    checks.refuse(
      "evaluate.every_steps must be above 0 for checkpoint.select, which"
      " compares evaluations; got 0"
    )
  if rest == "loss" and not evaluate.loss:
    checks.refuse(
      f"evaluate.loss must be True for checkpoint.select={figure!r}; got False"
    )

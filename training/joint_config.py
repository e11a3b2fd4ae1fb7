"""Checks of the losses beside that of pairs: decoders and self-distillation.

Their objective is training/objectives/joint.py.
"""

import losses
from input_pipeline import pipeline
from models import dual_encoder, naflex, text_transformer, vit
from models.decoding import captioning_config, decoding_config
from models.distilling import distillation_config
from runtime import checks


@checks.collected()
def check(
  data: pipeline.DataConfig,
  model: dual_encoder.ModelConfig,
  loss: losses.LossConfig,
  decoding: decoding_config.DecodingConfig,
  distillation: distillation_config.DistillationConfig,
) -> None:
  """Raise ValueError, naming the field, where sections do not fit together."""
  if decoding.is_on:
    _check_decoding(data, model, decoding)
  elif data.regions.is_on:
    checks.refuse(
      "data.regions.num_tokens must be 0 with decoding.weight=0, as nothing"
      f" reads the targets; got {data.regions.num_tokens}"
    )
  if data.regions.answers and loss.has_pairs:
    checks.refuse(
      "loss.weight must be 0 with data.regions.answers, whose questions are no"
      f" captions of pairs; got {loss.weight}"
    )
  if distillation.is_on:
    _check_distillation(data, model, distillation)
  elif data.views.is_on:
    checks.refuse(
      "data.views.has_global must be False with distillation weights of 0, as"
      " nothing reads the views; got True"
    )
  if not (decoding.is_on or distillation.is_on):
    return
  if not loss.has_pairs and not decoding.is_on:
    checks.refuse(
      "loss.weight must be above 0 without a decoder, decoding.weight=0: the"
      " towers would learn from no text; got 0"
    )
  section = "decoding" if decoding.is_on else "distillation"
  if loss.name not in losses.LOSSES:
    checks.refuse(
      f"loss.name must be one of {', '.join(losses.LOSSES)} with {section}; got"
      f" {loss.name!r}"
    )
  if loss.scope == "microbatch":
    checks.refuse(
      f'loss.scope must be "global" or "device" with {section}, whose means are'
      ' of the whole batch; got "microbatch"'
    )
  if getattr(model.image, "pool", "") == "queries":
    checks.refuse(
      f'model.image.pool must not be "queries" with {section}, which reads'
      ' single tokens; got "queries"'
    )
  if getattr(model.image, "patch_dropout", 0):
    checks.refuse(
      f"model.image.patch_dropout must be 0 with {section}, which reads all"
      f" tokens; got {getattr(model.image, 'patch_dropout', 0)}"
    )


@checks.collected()
def check_captioning(
  model: dual_encoder.ModelConfig,
  loss: losses.LossConfig,
  captioning: captioning_config.CaptioningConfig,
) -> None:
  """Raise ValueError, naming the field, where a captioner does not fit."""
  image, text = model.image, model.text
  made, on = captioning.captioner, "captioning.weight above 0"
  if loss.name not in losses.LOSSES:
    checks.refuse(
      f"loss.name must be one of {', '.join(losses.LOSSES)} with {on}; got"
      f" {loss.name!r}"
    )
  if loss.scope == "microbatch":
    checks.refuse(
      f'loss.scope must be "global" or "device" with {on}, whose mean is of the'
      ' whole batch; got "microbatch"'
    )
  if not isinstance(image, vit.ViTConfig) or image.pool != "queries":
    checks.refuse(
      f"model.image must be a 'vit' with model.image.pool=\"queries\" with"
      f" {on}; got {getattr(image, 'tower', None)!r} with"
      f" {getattr(image, 'pool', None)!r}"
    )
  elif image.num_queries < 2:
    checks.refuse(
      f"model.image.num_queries must be at least 2 with {on}: the first makes"
      f" the embedding; got {image.num_queries}"
    )
  if not isinstance(text, text_transformer.TextTransformerConfig):
    checks.refuse(
      f"model.text.tower must be 'transformer' with {on}; got"
      f" {getattr(text, 'tower', None)!r}"
    )
    return
  if not text.causal or text.pool != "cls":
    checks.refuse(
      f'model.text.causal must be True and model.text.pool "cls" with {on}; got'
      f' {text.causal} and "{text.pool}"'
    )
  for field, expected, got in (
    ("width", "model.text.width", text.width),
    ("width", "model.embed_dim", model.embed_dim),
    ("vocab_size", "model.text.vocab_size", text.vocab_size),
  ):
    if getattr(made, field) != got:
      checks.refuse(
        f"captioning.captioner.{field} must equal {expected}={got}; got"
        f" {getattr(made, field)}"
      )
  if made.num_tokens < text.num_tokens - 1:
    checks.refuse(
      "captioning.captioner.num_tokens must be at least model.text.num_tokens"
      f" - 1, {text.num_tokens - 1}; got {made.num_tokens}"
    )


def _check_decoding(
  data: pipeline.DataConfig,
  model: dual_encoder.ModelConfig,
  decoding: decoding_config.DecodingConfig,
) -> None:
  if not isinstance(model.image, vit.ViTConfig | naflex.NaFlexConfig):
    checks.refuse(
      "model.image.tower must be 'vit' or 'naflex' with decoding.weight above"
      f" 0; got {getattr(model.image, 'tower', None)!r}"
    )
  if not data.regions.is_on:
    checks.refuse(
      "data.regions.num_tokens must be the length of the decoder's targets with"
      f" decoding.weight={decoding.weight}; got 0"
    )
    return
  size = data.regions.vocabulary(data.vocab_size).size
  if decoding.decoder.vocab_size < size:
    checks.refuse(
      f"decoding.decoder.vocab_size must be at least {size}: data.vocab_size,"
      f" the bins of boxes and the tasks; got {decoding.decoder.vocab_size}"
    )
  if decoding.decoder.num_tokens < data.regions.num_tokens:
    checks.refuse(
      "decoding.decoder.num_tokens must be at least data.regions.num_tokens="
      f"{data.regions.num_tokens}; got {decoding.decoder.num_tokens}"
    )


def _check_distillation(
  data: pipeline.DataConfig,
  model: dual_encoder.ModelConfig,
  distillation: distillation_config.DistillationConfig,
) -> None:
  image = model.image
  if not isinstance(image, vit.ViTConfig):
    checks.refuse(
      "model.image.tower must be 'vit' with weights of distillation; got"
      f" {getattr(image, 'tower', None)!r}"
    )
    return
  if not data.views.has_global:
    checks.refuse(
      "data.views.has_global must be True with weights of distillation: the"
      " teacher reads the global view; got False"
    )
  if distillation.consistency_weight and not data.views.num_local:
    checks.refuse(
      "data.views.num_local must be at least 1 with"
      f" distillation.consistency_weight={distillation.consistency_weight}; got"
      " 0"
    )
  if data.views.num_local and data.views.local_size % image.patch_size:
    checks.refuse(
      "data.views.local_size must be a multiple of model.image.patch_size="
      f"{image.patch_size}; got {data.views.local_size}"
    )
  num_masked = round(distillation.mask_share * image.num_patches)
  if distillation.masked_weight and not num_masked > 0:
    checks.refuse(
      "distillation.mask_share must mask at least one of"
      f" {image.num_patches} patches; got {distillation.mask_share}"
    )

"""Flags of the tasks that use a model; imports nothing heavy."""

from absl import app, flags

from tasks import flags as flags_lib

_QUERY = flags.DEFINE_string("query", "", "What --task=search looks for.")
_INIT_FROM = flags.DEFINE_string(
  "init_from",
  "",
  "Model to use: a published one's folder or file of weights, hf://owner/name,"
  " or a run's workdir.",
)
_IMAGES = flags.DEFINE_string(
  "images",
  "",
  "What --task=embed embeds: a folder or a quoted pattern, in the order of the"
  " files' paths.",
)
_TEXTS = flags.DEFINE_string(
  "texts", "", "What --task=embed embeds: a file with one text a line."
)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 32, "Most rows that --task=embed computes at once."
)
_FORMAT = flags.DEFINE_string(
  "format", "hf", "What --task=export writes: hf (transformers) or open_clip."
)


def evaluate() -> int:
  """Run --task=evaluate."""
  from tasks import evaluate

  config = flags_lib.config()
  return evaluate.run(flags_lib.workdir(), config, as_json=flags_lib.as_json())


def search() -> int:
  """Run --task=search."""
  from inference import search

  return search.run(
    flags_lib.workdir(), _QUERY.value, as_json=flags_lib.as_json()
  )


def embed() -> int:
  """Run --task=embed."""
  path = _model()
  from inference import embed

  return embed.run(
    path,
    images=_IMAGES.value,
    texts=_TEXTS.value,
    out=flags_lib.out(),
    batch_size=_BATCH_SIZE.value,
    as_json=flags_lib.as_json(),
  )


def export() -> int:
  """Run --task=export."""
  path = _model()
  from inference import export

  return export.run(
    path, _FORMAT.value, flags_lib.out(), as_json=flags_lib.as_json()
  )


def _model() -> str:
  """Return --init_from or --workdir; UsageError unless one is given."""
  if bool(_INIT_FROM.value) == flags_lib.has_workdir():
    raise app.UsageError(
      "give the model: --init_from=PATH of a published one, or --workdir=RUN"
      " of a run (one of both)"
    )
  return _INIT_FROM.value or str(flags_lib.workdir())

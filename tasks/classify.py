"""Label pictures by texts alone; write a table, or calibrate its labels."""

from absl import app
from absl import flags as absl_flags

from tasks import flags

_LABELS = absl_flags.DEFINE_string(
  "labels",
  "",
  'Labels: a file with one a line, the labels themselves, as "cat,dog", or'
  " wordnet, the 86,554 names that --task=metadata takes from WordNet.",
)
_TEMPLATES = absl_flags.DEFINE_string(
  "templates",
  "",
  "Texts around a label, whose embeddings are averaged: a file with one a line,"
  ' one itself, as "a photo of a {}.", or a set whose prompts ship with the'
  " code, as imagenet1k or flowers. Default: the label alone.",
)
_MULTI_LABEL = absl_flags.DEFINE_bool(
  "multi_label", False, "Decide each label by itself: a picture has any number."
)
_BACKGROUND = absl_flags.DEFINE_string(
  "background",
  "",
  "Whole texts of what else a picture may show, a file or separated by commas:"
  " for --multi_label with a softmax loss, each label is compared with these.",
)
_THRESHOLD = absl_flags.DEFINE_float(
  "threshold",
  None,
  "Lowest probability of a label that a picture is given. Default: that of"
  " --calibration; 0.5 with --multi_label, else 0.",
)
_SCORES = absl_flags.DEFINE_string(
  "scores",
  "",
  "Labels whose probability has a column of its own, score_LABEL, separated by"
  " commas; all for all.",
)
_TRUTH = absl_flags.DEFINE_string(
  "truth",
  "",
  "Labels that are known: a column, or folder, the name of a picture's folder."
  " Several labels are a list, or have ; between them.",
)
_ALLOW_UNKNOWN_TRUTH = absl_flags.DEFINE_bool(
  "allow_unknown_truth",
  False,
  "Count known labels apart that are not among --labels, which are an error"
  " otherwise.",
)
_CALIBRATION = absl_flags.DEFINE_string(
  "calibration", "", "File of --calibrate: thresholds, and probabilities."
)
_CALIBRATE = absl_flags.DEFINE_string(
  "calibrate",
  "",
  "Pictures with known labels (--truth, by default the column labels), which"
  " choose the thresholds and probabilities of --multi_label; --out is a .json"
  " file for --calibration.",
)
_CALIBRATOR = absl_flags.DEFINE_string(
  "calibrator",
  "platt",
  "Curve from similarity to probability: platt, or isotonic, which needs more"
  " pictures.",
)
_TARGET = absl_flags.DEFINE_string(
  "target",
  "f1",
  "Aim of --calibrate's thresholds: f1, precision=0.9 or recall=0.9, which"
  " leave the other as high as it can be.",
)
_OF_CALIBRATE = (_CALIBRATOR, _TARGET)
_OF_IMAGES = (flags.IMAGES, _THRESHOLD, flags.NUM_RESULTS, _SCORES)
_OF_IMAGES += (flags.COLUMNS, _ALLOW_UNKNOWN_TRUTH, _CALIBRATION)
FLAGS = (
  *(flags.INIT_FROM, flags.WORKDIR, flags.IMAGES, flags.RECURSIVE),
  *(_LABELS, _TEMPLATES, flags.OUT, _THRESHOLD, flags.NUM_RESULTS, _SCORES),
  *(flags.COLUMNS, _TRUTH, _ALLOW_UNKNOWN_TRUTH, _MULTI_LABEL, _BACKGROUND),
  *(_CALIBRATE, _CALIBRATOR, _TARGET, _CALIBRATION, flags.BATCH_SIZE),
  *(flags.CACHE_DIR, flags.JSON),
)
_WORDNET = "wordnet"
_NUM_RESULTS = 5


def run() -> int:
  """Run --task=classify."""
  path, out = flags.model(), flags.out()
  is_fitted = bool(_CALIBRATE.value)
  for flag in _OF_IMAGES if is_fitted else _OF_CALIBRATE:
    if flag.present:
      raise app.UsageError(
        f"--{flag.name} is not used with --calibrate"
        if is_fitted
        else f"--{flag.name} needs --calibrate=FILE beside it"
      )
  from inference.classifying import calibrate, classify, request

  truth = _TRUTH.value
  wanted = request.Wanted(
    images=_CALIBRATE.value or flags.IMAGES.value,
    labels=_labels(),
    labels_from=_LABELS.value,
    templates=_TEMPLATES.value,
    background=_BACKGROUND.value,
    columns=flags.COLUMNS.value,
    truth=calibrate.truth_of(truth) if is_fitted else truth,
    out=out,
    is_multi=_MULTI_LABEL.value,
    recursive=flags.RECURSIVE.value,
    batch_size=flags.BATCH_SIZE.value,
    cache_dir=flags.CACHE_DIR.value,
  )
  if is_fitted:
    return calibrate.run(
      path,
      wanted,
      method=_CALIBRATOR.value,
      target=_TARGET.value,
      as_json=flags.JSON.value,
    )
  num_results = flags.NUM_RESULTS.value
  choices = classify.Choices(
    threshold=_THRESHOLD.value,
    num_results=_NUM_RESULTS if num_results is None else num_results,
    scores=_SCORES.value,
    calibration=_CALIBRATION.value,
    allow_unknown_truth=_ALLOW_UNKNOWN_TRUTH.value,
  )
  return classify.run(path, wanted, choices, as_json=flags.JSON.value)


def _labels() -> tuple[str, ...]:
  """Return the labels of --labels; none without it."""
  from inference.classifying import labels

  if _LABELS.value == _WORDNET:
    from curation.captions import wordnet
    from curation.metadata import entries

    # One synset has no name before its first ".".
    return tuple(filter(None, entries.synset_names(wordnet.find())))
  if not _LABELS.value:
    return ()
  return tuple(labels.listed(_LABELS.value, "labels"))

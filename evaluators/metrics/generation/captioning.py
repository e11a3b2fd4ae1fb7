"""Captions beside references: the record of all figures, by domain too."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluators.metrics.generation import coco_caption, overlap, tokens

KIND = "captioning"
METRIC_VERSION = "caption-1"
# Images that a message names.
_NUM_NAMED = 3


def record(
  captions: Mapping[str, str],
  references: Mapping[str, Sequence[str]],
  domains: Mapping[str, str] | None = None,
  *,
  tokenizer: str = tokens.PTB,
  meteor: bool = False,
) -> dict[str, Any]:
  """Return figures of all images and of each domain, for results.json.

  Names are the published ones for the Penn Treebank's tokens alone. Chance is
  the figure of captions that are each given to the next image. A domain is
  judged by itself: its n-grams are weighted by its own images. METEOR has no
  interval.

  Args:
    captions: caption by image; it may be empty.
    references: references by image, at least one each with a word.
    domains: domain by image, as "near-domain"; None without domains.
    tokenizer: one of tokens.NAMES.
    meteor: whether METEOR is computed, by Java processes of up to 2 GiB that
      take seconds to start; with the Penn Treebank's tokens.

  Raises:
    ValueError: images of captions, references and domains differ, or there are
      fewer than 2, or METEOR is asked for without Java's tokens.
    FileNotFoundError: Java is needed and is not there.
    ModuleNotFoundError: pycocoevalcap is not installed.

  >>> said = {"a": "a dog runs", "b": "two cats"}
  >>> truth = {"a": ["a dog runs fast"], "b": ["two cats", "cats"]}
  >>> round(record(said, truth, tokenizer="regex")["BLEU-1 (regex tokens)"], 3)
  0.819
  """
  tokens.check(tokenizer)
  if len(references) < 2:
    raise ValueError(
      "captions must be of at least 2 images, since CIDEr weighs words by the"
      f" share of images that have them; got references of {len(references)}"
    )
  if meteor and tokenizer != tokens.PTB:
    raise ValueError(
      f"meteor=True must have tokenizer={tokens.PTB!r}; got {tokenizer!r}"
    )
  _check_same("references", references, captions)
  if domains is not None:
    _check_same("domains", domains, captions)
  names = sorted(references)
  counts = [len(references[name]) for name in names]
  texts = [x for name in names for x in (captions[name], *references[name])]
  words = iter(tokens.tokenize(texts, tokenizer))
  said, truth = [], []
  for count in counts:
    said.append(next(words))
    truth.append([next(words) for _ in range(count)])
  empty = [x for x, some in zip(names, truth, strict=True) if not any(some)]
  if empty:
    raise ValueError(
      "each image must have a reference with a word; got none of"
      f" {len(empty)} images, as {empty[:_NUM_NAMED]}"
    )
  rows: dict[str, list[int]] = {"": [*range(len(names))]}
  for row, name in enumerate(names):
    if domain := (domains or {}).get(name, ""):
      rows.setdefault(domain, []).append(row)
  parts = {
    domain: _part(
      [said[i] for i in some], [truth[i] for i in some], tokenizer, meteor
    )
    for domain, some in sorted(rows.items())
  }
  return {
    "kind": KIND,
    **parts.pop(""),
    **({"parts": parts} if parts else {}),
    "protocol": {
      "metric_version": METRIC_VERSION,
      "tokens": tokens.DEFINITIONS[tokenizer],
      "library": coco_caption.version(),
      "num_references": [min(counts), max(counts)],
      "n_gram_weights": "of the images of each row",
      "chance_is": "each caption for the next image",
    },
  }


def _part(
  said: list[str], truth: list[list[str]], tokenizer: str, meteor: bool
) -> dict[str, Any]:
  if len(said) == 1:
    reason = "its one image has no others that weigh its words"
    return {"num_images": 1, "not_run": reason}
  judged = overlap.judge(said, truth, meteor=meteor)
  expected = overlap.judge(said, truth[1:] + truth[:1], meteor=meteor)
  end = tokens.SUFFIXES[tokenizer]

  def named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}{end}": value for name, value in values.items()}

  return {
    "num_images": len(said),
    "num_references": sum(map(len, truth)),
    "num_empty": sum(not caption for caption in said),
    **named(judged.figures()),
    "chance": named(expected.figures()),
    "intervals": named(judged.intervals()),
  }


def _check_same(
  what: str, there: Mapping[str, Any], captions: Mapping[str, str]
) -> None:
  """Raise ValueError where two mappings are not of the same images."""
  absent = sorted(there.keys() - captions.keys())
  strange = sorted(captions.keys() - there.keys())
  if absent or strange:
    raise ValueError(
      f"captions and {what} must be of the same images; got {len(absent)} of"
      f" {what} alone, as {absent[:_NUM_NAMED]}, and {len(strange)} of captions"
      f" alone, as {strange[:_NUM_NAMED]}"
    )

"""Inspection of a run's data: its first examples, and a survey of sources."""

import collections
import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from input_pipeline import (
  captions,
  examples,
  faults,
  ledger,
  pipeline,
  tokenizers,
)
from input_pipeline.asking import rows as rows_lib
from input_pipeline.inspecting import shown_regions
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config

# Examples of each source that `survey` decodes, evenly spaced: it then misses a
# share of 1 % of bad examples with a probability of 0.99**256 = 8 %.
NUM_CHECKED = 256


@dataclasses.dataclass(frozen=True)
class Piece:
  """One id of a caption; `kind` is "text", "unknown", "mark" or "padding"."""

  id: int
  text: str
  kind: str


@dataclasses.dataclass(frozen=True)
class Shown:
  """One example as the training step receives it.

  Attributes:
    step: step whose batch contains it.
    row: row of that batch.
    image: uint8 [Y, X, 3], augmented; the frames of a video side by side, its
      clips below each other.
    grammar: name of the grammar that made the caption, "" without one.
    num_ids: number of the caption's ids before it was cut to data.num_tokens.
    answer: answer to a question, which is then the caption.
    options: texts that a question has to choose from; `pieces` are those of the
      right one behind the question.
    regions: regions of the image; none without data.regions.
    targets: targets of a decoder, one or one of each task.
  """

  step: int
  row: int
  key: str
  source: str
  language: str
  caption: str
  image: np.ndarray
  pieces: tuple[Piece, ...]
  decoded: str
  num_ids: int
  grammar: str = ""
  answer: str = ""
  options: tuple[str, ...] = ()
  regions: tuple[shown_regions.Region, ...] = ()
  targets: tuple[shown_regions.Target, ...] = ()


@dataclasses.dataclass(frozen=True)
class Survey:
  """Statistics of one source, from NUM_CHECKED of its examples.

  Attributes:
    share: share of the batches, by weight or by size and repeat.
    num_ids: numbers of ids of one caption of each usable example, before it is
      cut.
    sizes: (height, width) of the images before augmentation.
    num_bytes: sizes of the encoded images in bytes.
    faults: kind and message of each example that cannot be used.
  """

  name: str
  settings: source_config.SourceConfig
  num_examples: int
  share: float
  num_checked: int
  num_ids: tuple[int, ...]
  sizes: tuple[tuple[int, int], ...]
  num_bytes: tuple[int, ...]
  faults: tuple[tuple[str, str], ...]


def first_examples(
  config: pipeline.DataConfig,
  *,
  batch_size: int,
  seed: int,
  count: int,
  opened: pipeline.Opened | None = None,
  phase: ledger.Phase = ledger.Phase(),
  fused: rows_lib.Rows | None = None,
) -> tuple[list[Shown], list[faults.Fault]]:
  """Return the first examples of a run, in the order of its batches.

  Of a run with phases, they are those of the phase.

  At most `batch_size` are of one step; only these rows of a batch are made. The
  second result lists the bad examples that were replaced among them. `fused`
  are the rows of a fused model, of fusing/fused_data.make_rows.
  """
  rows = range(min(count, batch_size))
  dataset = pipeline.make_train_dataset(
    # No workers and no prefetching: only the shown examples are made.
    dataclasses.replace(
      config, num_workers=0, num_threads=0, num_prefetch_batches=0
    ),
    batch_size=batch_size,
    seed=seed,
    opened=opened,
    rows=rows,
    with_metadata=True,
    fused=fused,
  )
  tokenizer = pipeline.make_tokenizer(config, opened)
  iterator: Any = iter(dataset)
  if phase.first_batch:
    iterator.set_state({"next_index": phase.first_batch})
  batches = list(itertools.islice(iterator, -(-count // len(rows))))
  shown = [
    _shown(config, tokenizer, batch, step, row)
    for step, batch in enumerate(batches, phase.first_step)
    for row in rows
  ]
  last = shown[count - 1]
  last_batch = last.step - phase.first_step + phase.first_batch
  replaced = [
    fault
    for batch in batches
    for fault in batch[examples.FAULTS]
    if fault.position <= last_batch * batch_size + last.row
  ]
  return shown[:count], replaced


def _shown(
  config: pipeline.DataConfig,
  tokenizer: tokenizers.Tokenizer,
  batch: Mapping[str, Any],
  step: int,
  row: int,
) -> Shown:
  """Return a row of a batch that has metadata."""
  caption, tokens = str(batch["caption"][row]), batch["tokens"][row]
  answer, options, text = "", (), caption
  if "options" in batch:
    answer = str(batch["answer"][row])
    options = tuple(json.loads(str(batch["options"][row])))
  if options:
    right = int(batch["labels"][row])
    tokens, text = tokens[right], f"{caption} {options[right]}".strip()
  return Shown(
    step=step,
    row=row,
    key=str(batch["key"][row]),
    source=str(batch["source"][row]),
    language=str(batch["language"][row]),
    caption=caption,
    image=_image(config, batch, row),
    pieces=pieces(tokenizer, tokens),
    decoded=tokenizer.decode(tokens),
    num_ids=tokenizer.num_ids(text),
    grammar=str(batch["grammar"][row]),
    answer=answer,
    options=options,
    regions=shown_regions.regions(batch, row),
    targets=shown_regions.targets(config, tokenizer, batch, row),
  )


def _image(
  config: pipeline.DataConfig, batch: Mapping[str, Any], row: int
) -> np.ndarray:
  """Return an image as pixels, joined from patches or frames if it has them.

  A video has a row for each clip, and a column for each frame.
  """
  pixels = batch["images"][row]
  if config.video.is_on:
    clips, frames, height, width, _ = pixels.shape
    rows = pixels.swapaxes(1, 2)  # clips, height, frames, width
    return rows.reshape(clips * height, frames * width, 3)
  if not config.augmentation.is_naflex:
    return pixels
  (rows, columns), side = batch["shapes"][row], config.augmentation.patch_size
  patches = pixels[: rows * columns].reshape(rows, columns, side, side, 3)
  return patches.swapaxes(1, 2).reshape(rows * side, columns * side, 3)


def pieces(
  tokenizer: tokenizers.Tokenizer, ids: Sequence[int] | np.ndarray
) -> tuple[Piece, ...]:
  """Return text and kind of each id of a row."""
  rule, codec = tokenizer.rule, tokenizer.codec
  tokens = [int(token) for token in ids]
  kinds = ["unknown" if token == codec.unk_id else "text" for token in tokens]
  start, end = 0, len(tokens)
  if rule.pad_left:
    while start < end and tokens[start] == rule.pad_id:
      start += 1
  first = start
  if rule.bos_id is not None and tokens[start : start + 1] == [rule.bos_id]:
    kinds[start] = "mark"
    first += 1
  # As in Rule.unpack, all ids after an end of text are padding.
  if rule.eos_id in tokens[first:]:
    end = tokens.index(rule.eos_id, first) + 1
    kinds[end - 1] = "mark"
  else:
    while end > first and tokens[end - 1] == rule.pad_id:
      end -= 1
  kinds[:start] = ["padding"] * start
  kinds[end:] = ["padding"] * (len(tokens) - end)
  return tuple(
    Piece(token, codec.decode([token]) if kind == "text" else "", kind)
    for token, kind in zip(tokens, kinds, strict=True)
  )


def survey(
  config: pipeline.DataConfig,
  opened: pipeline.Opened,
  advance: Callable[[], object] = lambda: None,
) -> list[Survey]:
  """Decode some examples of each source; call `advance` after each."""
  tokenizer = pipeline.make_tokenizer(config, opened)
  shares = _shares(config, opened)

  def check(task: tuple[str, int]) -> _Checked:
    name, index = task
    try:
      return _check(config, tokenizer, name, opened[name], index)
    finally:
      advance()

  surveys = []
  with futures.ThreadPoolExecutor(max(1, config.num_threads)) as pool:
    for name, records in opened.items():
      indices = checked_indices(len(records))
      checked = list(pool.map(check, ((name, index) for index in indices)))
      good = [one for one in checked if one.fault is None]
      surveys.append(
        Survey(
          name=name,
          settings=config.sources[name],
          num_examples=len(records),
          share=shares[name],
          num_checked=len(checked),
          num_ids=tuple(one.num_ids for one in good),
          sizes=tuple(one.size for one in good),
          num_bytes=tuple(one.num_bytes for one in good),
          faults=tuple(one.fault for one in checked if one.fault),
        )
      )
  return surveys


def checked_indices(num_examples: int) -> list[int]:
  """Return the indices of the examples of a source that are decoded."""
  count = min(num_examples, NUM_CHECKED)
  return [index * num_examples // count for index in range(count)]


def counted(surveys: Sequence[Survey]) -> Mapping[str, int]:
  """Return the number of examples for each kind of fault, highest first."""
  kinds = [kind for one in surveys for kind, _ in one.faults]
  return dict(collections.Counter(kinds).most_common())


@dataclasses.dataclass(frozen=True)
class _Checked:
  num_ids: int = 0
  size: tuple[int, int] = (0, 0)
  num_bytes: int = 0
  fault: tuple[str, str] | None = None


def _check(
  config: pipeline.DataConfig,
  tokenizer: tokenizers.Tokenizer,
  name: str,
  records: record_lib.Records,
  index: int,
) -> _Checked:
  unread = f"example {index}: "
  try:
    record = records[index]
    unread = ""
    # One caption of several, the same in every inspection.
    rng = np.random.default_rng(index)
    with faults.located(record.origin or record.key):
      text = captions.choose(
        record.texts,
        config.languages,
        rng,
        max_chars=config.max_caption_chars,
        templates=config.sources[name].templates,
      )
      size = config.decoded_size(record.image)
  except faults.ExampleError as error:
    return _Checked(fault=(error.kind, f"{unread}{error}"))
  return _Checked(tokenizer.num_ids(text), size, len(record.image))


def _shares(
  config: pipeline.DataConfig, opened: pipeline.Opened
) -> dict[str, float]:
  weights = {name: source.weight for name, source in config.sources.items()}
  if not any(weights.values()):
    weights = {
      name: len(records) * config.sources[name].repeat
      for name, records in opened.items()
    }
  total = sum(weights.values())
  return {name: weight / total for name, weight in weights.items()}

"""Captions of pictures as a table, which a source of pairs reads.

  OUT                a row a picture, in order; CSV, JSON lines or Parquet
  OUT.json           what decides the rows: model, settings, counts, pictures
                     left out
  OUT.results.json   with references: figures and their protocol

OUT is written last and whole. A picture that cannot be used, or whose caption
is empty, has no row: a source would refuse it.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa

from evaluators import summary
from evaluators.generating import captioner as captioner_lib
from evaluators.generating import settings as settings_lib
from evaluators.metrics.generation import tokens as tokens_lib
from inference import pictures, python_model, read_ahead
from inference.captioning import judging
from inference.classifying import request, result_table, sources
from runtime import checks, progress, provenance
from runtime.storage import bucket_path, remote, strict_json, whole_files

# Columns of a table by their usual names, so that a source needs no fields.
IMAGE, NAME, CAPTION = "image", "image_path", "caption"
# Rows that are held together with their pictures.
_FEW_ROWS = 256
# Captions that are told apart; more are not counted.
_MOST_DIFFERENT = 100_000
# Pictures left out that a message names, and that OUT.json lists.
_NUM_NAMED, _NUM_LISTED = 3, 1000


@dataclasses.dataclass(frozen=True)
class Wanted:
  """Values of flags; see tasks/caption.py.

  Attributes:
    images, out, columns, recursive, batch_size, cache_dir: values of the flags,
      "" for none.
    stores_images: whether rows have the encoded pictures too.
    references, references_split, tokens, scorer, objects, synonyms: values of
      the flags.
    settings: settings of generation.
  """

  images: str
  out: str
  columns: str = ""
  recursive: bool = False
  batch_size: int = 32
  cache_dir: str = "cache"
  stores_images: bool = False
  references: str = ""
  references_split: str = ""
  tokens: str = tokens_lib.PTB
  scorer: str = ""
  objects: str = ""
  synonyms: str = ""
  settings: settings_lib.Settings = settings_lib.Settings()

  def check(self) -> None:
    """Raise ValueError, naming the flag, where a value cannot be used."""
    checks.at_least("--batch_size", self.batch_size, 1)
    self.settings.check(mark="--")
    out = bucket_path.make(self.out)
    result_table.check(self.out, out)
    if self.stores_images and out.suffix != ".parquet":
      raise ValueError(
        f"--store_images needs an --out that ends in .parquet; got {self.out!r}"
      )
    for name in ("references_split", "scorer", "objects", "synonyms"):
      if getattr(self, name) and not self.references:
        raise ValueError(f"--{name} needs --references=FILE beside it")
    if bool(self.objects) != bool(self.synonyms):
      raise ValueError(
        "--objects and --synonyms must both be files, or neither; got"
        f" {self.objects!r} and {self.synonyms!r}"
      )


@dataclasses.dataclass
class _Totals:
  """Counts of the pictures so far.

  Attributes:
    num: pictures.
    num_left_out: those without a row.
    left_out: their names and reasons, the first ones.
    num_cut: captions that the decoder did not end.
    num_dropped: ids that are no text.
    captions: hashes of captions, of _MOST_DIFFERENT at most.
    folder: folder that all absolute paths are below; None without one.
    said: captions by the picture's name, to be judged; None where none are.
  """

  num: int = 0
  num_left_out: int = 0
  left_out: list[str] = dataclasses.field(default_factory=list)
  num_cut: int = 0
  num_dropped: int = 0
  captions: set[int] = dataclasses.field(default_factory=set)
  folder: str | None = None
  said: dict[str, str] | None = None

  def leave_out(self, name: str, reason: str) -> None:
    """Count a picture without a row."""
    self.num_left_out += 1
    if len(self.left_out) < _NUM_LISTED:
      self.left_out.append(f"{name}: {reason}")

  def facts(self) -> dict[str, Any]:
    """Return the counts as values for JSON."""
    return {
      "num_pictures": self.num,
      "num_captions": self.num - self.num_left_out,
      "num_different_captions": len(self.captions),
      "num_cut": self.num_cut,
      "num_ids_dropped": self.num_dropped,
      "num_left_out": self.num_left_out,
      "left_out": self.left_out,
    }


def run(path: str, wanted: Wanted, *, as_json: bool = False) -> int:
  """Caption pictures; write the table and print a summary.

  Args:
    path: folder of a run with a decoder.
    wanted: values of the flags.
    as_json: print one JSON object, that of OUT.json, in place of lines.

  Raises:
    ValueError, OSError: a flag is wrong, or no picture can be used; the message
      names the flag. Nothing was written.
    workdir.WorkdirError: the run has no checkpoint or no decoder.
  """
  wanted.check()
  out = bucket_path.make(wanted.out)
  source = sources.find(
    wanted.images,
    flag="images",
    recursive=wanted.recursive,
    columns=wanted.columns,
    truth="",
    is_multi=False,
    cache_dir=wanted.cache_dir,
  )
  schema = _schema(source, wanted.stores_images)
  judge = None
  if wanted.references:
    judge = judging.make(
      *(source, wanted.references, wanted.references_split, wanted.tokens),
      objects=wanted.objects,
      synonyms=wanted.synonyms,
    )
  # Flags are checked before a model of gigabytes is read.
  model = python_model.Model.load(path, batch_size=wanted.batch_size)
  writer = model.captioner
  most = writer.decoder.num_tokens
  wanted.settings.check(most, "--")
  scorer = _scorer(wanted)
  totals = _Totals(said={} if judge else None)
  facts: dict[str, Any] = {
    "task": "caption",
    "out": wanted.out,
    "images": wanted.images,
    "model": request.model_facts(model, path),
    "decoder": writer.digest,
    "generation": wanted.settings.facts(most),
    "versions": provenance.versions(),
  }
  with result_table.opened(out, schema) as table:
    for row in _rows(writer, source, wanted, totals):
      table.add(row)
      if wanted.stores_images and not table.num_rows % _FEW_ROWS:
        table.flush()
    _check_any(totals)
    facts |= totals.facts()
    results = {}
    if judge is not None:
      assert totals.said is not None
      results = judge.records(totals.said, scorer, wanted.scorer)
      for made in results.values():
        made["protocol"] |= {
          "references": wanted.references,
          "split": wanted.references_split,
          "generation": facts["generation"],
          "model": facts["model"],
          "decoder": writer.digest,
        }
      encoded = strict_json.dumps(results, indent=2, ensure_ascii=False)
      whole_files.write(
        out.parent / f"{out.name}.results.json", encoded.encode() + b"\n"
      )
    text = strict_json.dumps(facts, indent=2, ensure_ascii=False)
    beside = out.parent / f"{out.name}.json"
    # With OUT itself there, OUT.json is whole.
    whole_files.write(beside, text.encode() + b"\n")
    table.finish({**facts, "left_out": None})
  if as_json:
    print(text)
    return 0
  notes = pictures.unread(wanted.images, wanted.recursive)
  print("\n".join([*_summary(wanted, source, totals), *notes]))
  if results:
    print(summary.table(results))
  return 0


def _scorer(wanted: Wanted) -> python_model.Model | None:
  """Return the scoring model; None without.

  Raises:
    ValueError: it has no tower, image protocol or tokenizer; names the flag.
  """
  if not wanted.scorer:
    return None
  try:
    scorer = python_model.Model.load(
      wanted.scorer, batch_size=wanted.batch_size
    )
    # Both are read from files, and may not be there.
    _ = scorer.image_protocol, scorer.tokenizer
  except (ValueError, OSError) as error:
    raise ValueError(f"--scorer={wanted.scorer}: {error}") from error
  return scorer


def _schema(source: sources.Source, stores_images: bool) -> pa.Schema:
  """Return the columns of the table."""
  fields = {NAME: pa.string(), CAPTION: pa.string()}
  if stores_images:
    fields = {IMAGE: pa.binary(), **fields}
  return result_table.schema(fields, source.columns)


def _rows(
  writer: captioner_lib.Captioner,
  source: sources.Source,
  wanted: Wanted,
  totals: _Totals,
) -> Iterator[dict[str, Any]]:
  """Yield the rows of pictures with a caption; count in `totals`."""
  folder = wanted.out.rpartition("/")[0] or "."
  with (
    progress.Progress("Captioning pictures", len(source)) as bar,
    contextlib.closing(_captioned(writer, source, wanted.settings)) as read,
  ):
    for index, picture, caption in read:
      totals.num += 1
      bar.advance()
      if caption is None or not caption.text:
        reason = picture.error or "its caption is empty"
        totals.leave_out(picture.name, reason)
        continue
      totals.num_cut += not caption.is_whole
      totals.num_dropped += caption.num_dropped
      if len(totals.captions) < _MOST_DIFFERENT:
        totals.captions.add(hash(caption.text))
      if totals.said is not None:
        totals.said[picture.name] = caption.text
      row: dict[str, Any] = {**picture.values, CAPTION: caption.text}
      row[NAME] = _from(folder, picture.name)
      if isinstance(source.found, pictures.Files | pictures.TableRows):
        _widen(totals, row[NAME])
      if wanted.stores_images:
        row[IMAGE] = source.found[index].data
      yield row


def _captioned(
  writer: captioner_lib.Captioner,
  source: sources.Source,
  settings: settings_lib.Settings,
) -> Generator[
  tuple[int, sources.Picture, captioner_lib.Caption | None], None, None
]:
  """Yield number, picture and caption in order; None without one."""
  read_fn = functools.partial(source.read, writer.image_protocol)
  waiting: collections.deque[tuple[int, sources.Picture]] = collections.deque()
  ahead = 2 * writer.batch_size

  def requests() -> Generator[captioner_lib.Request]:
    with read_ahead.mapped(read_fn, range(len(source)), ahead) as results:
      for index, (picture, row) in enumerate(results):
        waiting.append((index, picture))
        if row is not None:
          yield writer.captioning(row)

  def failed() -> Iterator[tuple[int, sources.Picture, None]]:
    while waiting and waiting[0][1].error:
      index, picture = waiting.popleft()
      yield index, picture, None

  with contextlib.closing(requests()) as inputs:
    for some in writer.stream(inputs, settings):
      for written in some:
        yield from failed()
        index, picture = waiting.popleft()
        yield index, picture, writer.caption_of(written)
  yield from failed()


def _from(folder: str, name: str) -> str:
  """Return a path as a table in a folder has it.

  One below the folder is relative to it; others on disk are absolute, and need
  `image_root` in a source.
  """
  if remote.is_remote(name) or remote.is_remote(folder):
    return name
  path, root = os.path.abspath(name), os.path.abspath(folder)
  if os.path.commonpath([path, root]) == root:
    return os.path.relpath(path, root)
  return path


def _widen(totals: _Totals, name: str) -> None:
  """Count a path to the folder that all absolute ones are below."""
  if remote.is_remote(name) or not os.path.isabs(name):
    return
  folders = [os.path.dirname(name)]
  if totals.folder is not None:
    folders.append(totals.folder)
  totals.folder = os.path.commonpath(folders)


def _check_any(totals: _Totals) -> None:
  if totals.num_left_out == totals.num:
    raise ValueError(
      f"--images: none of {totals.num} pictures has a caption; the first:"
      f" {totals.left_out[0]}"
    )


def _summary(
  wanted: Wanted, source: sources.Source, totals: _Totals
) -> list[str]:
  """Return lines about the table."""
  facts = totals.facts()
  lines = [
    f"{facts['num_captions']:,} captions of {totals.num:,} pictures in"
    f" {wanted.out}; {facts['num_different_captions']:,} are different,"
    f" {totals.num_cut:,} were cut at the most ids"
  ]
  if totals.num_dropped:
    lines.append(
      f"{totals.num_dropped:,} ids are no text (boxes, tasks, padding) and were"
      " left out of captions"
    )
  if totals.num_left_out:
    lines.append(
      f"{totals.num_left_out:,} pictures have no row:"
      f" {'; '.join(totals.left_out[:_NUM_NAMED])}"
    )
  lines.append(_how_to_read(wanted, source, totals))
  return lines


def _how_to_read(
  wanted: Wanted, source: sources.Source, totals: _Totals
) -> str:
  """Return a line about a source of pairs with these captions."""
  named = isinstance(source.found, pictures.Files | pictures.TableRows)
  if not (wanted.stores_images or named):
    return (
      f"Pictures within {wanted.images} are not named by a path of their own: a"
      " source reads pictures and captions with --store_images"
    )
  kind = pathlib.PurePosixPath(wanted.out).suffix
  fields = {
    "format": "parquet" if kind == ".parquet" else "table",
    "path": wanted.out,
    "split": "",
  }
  if totals.folder is not None and not wanted.stores_images:
    fields["image_root"] = totals.folder
  flags = [f"--config.data.sources.main.{k}={v}" for k, v in fields.items()]
  return f"To train on them: {' '.join(flags)}"

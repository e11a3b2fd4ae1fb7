"""TGIF-QA (Jang et al., CVPR 2017): questions about animated GIFs.

Each task has {Train,Test}_TASK_question.csv, with tabs between fields; the
videos are GIF_NAME.gif, in whichever folder they lie. Rows have "question", and

- action and transition: "options", 5 of them, and "answer", the index of the
  right one;
- frame: "answer", a word, and "answer_type";
- count: "answer", a number.
"""

import functools
from collections.abc import Callable, Iterator

from input_pipeline.sources.layouts import layout

_SPLITS = {"train": "Train", "test": "Test"}
_OPTIONS = tuple(f"a{number}" for number in range(1, 6))
# Column "type" of FrameQA (README of the release).
_TYPES = ("object", "number", "color", "location")


def _choices(
  task: str, data: layout.Folder, split: str
) -> Iterator[layout.Row]:
  """Yield the questions of a task with options."""
  for row in _table(data, task, split, _OPTIONS):
    answer = _whole(data, row["answer"])
    if not 0 <= answer < len(_OPTIONS):
      message = f"{data.last_read}: answer must be 0 to 4; got {answer}"
      yield layout.fault(row["gif_name"], "record_broken", message)
      continue
    options = [row[name].strip() for name in _OPTIONS]
    yield {**_asked(data, row), "options": options, "answer": answer}


def _frame(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the questions that a word answers."""
  for row in _table(data, "frameqa", split, ("type",)):
    kind = _whole(data, row["type"])
    if not 0 <= kind < len(_TYPES):
      message = f"{data.last_read}: type must be 0 to 3; got {kind}"
      yield layout.fault(row["gif_name"], "record_broken", message)
      continue
    answer = row["answer"].strip()
    yield {**_asked(data, row), "answer": answer, "answer_type": _TYPES[kind]}


def _count(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the questions that a number of repetitions answers."""
  for row in _table(data, "count", split, ()):
    yield {**_asked(data, row), "answer": _whole(data, row["answer"])}


def _table(
  data: layout.Folder, task: str, split: str, needs: tuple[str, ...]
) -> Iterator[dict[str, str]]:
  file = data.named(f"{_SPLITS[split]}_{task}_question.csv")
  columns = ("gif_name", "question", "answer", *needs)
  return data.table(file, needs=columns, delimiter="\t")


def _asked(data: layout.Folder, row: dict[str, str]) -> layout.Row:
  question = row["question"].strip()
  video = data.needs_video(row["gif_name"])
  return {**video, "caption": question, "question": question}


def _whole(data: layout.Folder, text: str) -> int:
  """Return a whole number; ValueError that names the file for another text."""
  number = data.number(text, 1e6)
  if number != int(number):
    raise data.wrong(
      f"must have whole numbers in {data.last_read}; got {text!r:.60}"
    )
  return int(number)


_SOURCE = "github.com/YunseokJANG/tgif-qa"


def _layout(
  rows: Callable[[layout.Folder, str], Iterator[layout.Row]], task: str
) -> layout.Layout:
  files = f"{{Train,Test}}_{task}_question.csv and gifs in any folder"
  return layout.Layout(rows, files, (*_SPLITS,), _SOURCE)


LAYOUTS = {
  "action": _layout(functools.partial(_choices, "action"), "action"),
  "transition": _layout(
    functools.partial(_choices, "transition"), "transition"
  ),
  "frame": _layout(_frame, "frameqa"),
  "count": _layout(_count, "count"),
}

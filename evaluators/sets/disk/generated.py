"""Files of generated captions and answers, and what they are judged by.

  predictions  a JSON array, or JSON lines, of {"image_id", "caption"}: COCO's
               form of results
  references   COCO's, Karpathy's, NoCaps' or TextCaps' own file
               (input_pipeline/sources/layouts/captioned.py), or JSON lines of
               {"image_id", "references", "domain"}, the last where there are
               domains
  objects      COCO's instances_SPLIT.json
  synonyms     a JSON object from objects to lists of words, such as {"dog":
               ["puppy"], "toilet": ["toilet seat"]}; or an object a line, its
               name first, its words separated by commas, as the paper of CHAIR
               has them
  questions    POPE's JSON lines of {"question_id", "image", "text", "label"}
  answers      JSON lines of {"question_id", "answer"}, or of {"question",
               "answer"} in the order of the questions

Rows of JSON lines may also be those of a table, NAME.csv or NAME.tsv, where a
list is JSON. Numbers and names of images are compared as texts. Paths are on
disk or at a URL. A pickle, as the releases of RefCOCO have, is refused.
"""

import collections
import csv
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from evaluators.metrics.generation import captioning, chair, pope, tokens
from evaluators.sets import text_files
from evaluators.sets.disk import rows
from input_pipeline.sources.layouts import captioned

# Ends of the names of tables -> delimiter.
_TABLES = {".csv": ",", ".tsv": "\t"}
# Ends of the names of files that have rows of our own form of references.
_ROWS = (".jsonl", ".ndjson", *_TABLES)
# Ends of the names of pickles.
_PICKLES = (".p", ".pkl", ".pickle")


class References(NamedTuple):
  """References and domains by image; {} without domains.

  Attributes:
    captions: references of each image.
    domains: domain of each image that has one.
    names: image of each name of a file that the references have.
  """

  captions: dict[str, tuple[str, ...]]
  domains: dict[str, str]
  names: dict[str, str]


def judge(
  predictions: str,
  references: str,
  *,
  split: str = "",
  tokenizer: str = tokens.PTB,
  meteor: bool = False,
  objects: str = "",
  synonyms: str = "",
) -> dict[str, Any]:
  """Return the records of a file of captions, for results.json.

  `evaluators.summary.table` renders them as text.

  Args:
    predictions: path of the captions.
    references: path of the references.
    split: split of Karpathy's file, as "test"; "" for other files.
    tokenizer: one of tokens.NAMES.
    meteor: whether METEOR is computed; see captioning.record.
    objects: path of COCO's instances, for CHAIR; "" for none.
    synonyms: path of the words that mean an object.

  Returns:
    "captions", and with `objects` "objects".

  Raises:
    ValueError: a file is in another form, or images differ; names the file.
    FileNotFoundError, ModuleNotFoundError: as captioning.record.
  """
  tokens.check(tokenizer)
  if bool(objects) != bool(synonyms):
    raise ValueError(
      "objects and synonyms must both be paths, or neither; got"
      f" objects={objects!r} and synonyms={synonyms!r}"
    )
  said, truth = read_captions(predictions), read_references(references, split)
  made = {
    "captions": captioning.record(
      said,
      truth.captions,
      truth.domains or None,
      tokenizer=tokenizer,
      meteor=meteor,
    )
  }
  if objects:
    made["objects"] = judge_objects(
      said, truth, read_objects(objects), read_synonyms(synonyms)
    )
  return made


def judge_objects(
  said: Mapping[str, str],
  truth: References,
  objects: Mapping[str, set[str]],
  synonyms: chair.Synonyms,
) -> dict[str, Any]:
  """Return CHAIR's record of captions; raises as chair.record.

  Args:
    said: caption by image.
    truth: references of these images.
    objects: annotated objects by image; an image that is absent has none.
    synonyms: words that mean an object.
  """
  names = sorted(said)
  return chair.record(
    [said[name] for name in names],
    [objects.get(name, ()) for name in names],
    [truth.captions[name] for name in names],
    synonyms,
  )


def read_captions(path: str) -> dict[str, str]:
  """Return the caption of each image of a file of predictions.

  Raises:
    ValueError: a row has no image or caption, or an image has two.
  """
  said: dict[str, str] = {}
  for number, row in enumerate(_listed(path), 1):
    where = f"{path}, row {number}"
    name = _name(row, where)
    if name in said:
      raise ValueError(f"{where}: image_id {name!r} has a second caption")
    said[name] = rows.field_of(row, "caption", str, where)
  return said


def read_references(path: str, split: str = "") -> References:
  """Return references, and domains where the file has some.

  Args:
    path: file in one of the forms.
    split: split of Karpathy's file; "" for other files.

  Raises:
    ValueError: the file is in none of the forms, has no such split, or has an
      image without a reference.
  """
  if path.endswith(_ROWS):
    made = [
      captioned.Entry(
        _name(row, f"{path}, row {number}"),
        "",
        _texts(row, f"{path}, row {number}"),
        str(row.get("domain") or ""),
      )
      for number, row in enumerate(_listed(path), 1)
    ]
  else:
    _refuse_pickle(path)
    try:
      made = captioned.entries(rows.parsed(path))
    except (KeyError, TypeError, AttributeError) as error:
      raise ValueError(
        f"{path} must have the fields of its form; got {type(error).__name__}:"
        f" {error}"
      ) from error
    except ValueError as error:
      raise ValueError(f"{path}: {error}") from error
  if any(entry.split for entry in made):
    made = captioned.of_split(made, split)
  elif split:
    raise ValueError(f"{path} has no splits; got split={split!r}")
  again = collections.Counter(entry.image_id for entry in made)
  if twice := [name for name, number in again.items() if number > 1]:
    raise ValueError(f"{path}: each image must have one row; got {twice[:3]}")
  if empty := [entry.image_id for entry in made if not entry.captions]:
    raise ValueError(
      f"{path}: each image must have a reference; got none of {len(empty)}"
      f" images, as {empty[:3]}"
    )
  return References(
    {entry.image_id: entry.captions for entry in made},
    {entry.image_id: entry.domain for entry in made if entry.domain},
    {entry.file_name: entry.image_id for entry in made if entry.file_name},
  )


def read_objects(path: str) -> dict[str, set[str]]:
  """Return the names of the objects of each image of COCO's instances.

  Raises:
    ValueError: the file has another form; names it.
  """
  _refuse_pickle(path)
  content = rows.parsed(path)
  try:
    names = {x["id"]: str(x["name"]) for x in content["categories"]}
    there: dict[str, set[str]] = {
      str(x["id"]): set() for x in content["images"]
    }
    for one in content["annotations"]:
      there[str(one["image_id"])].add(names[one["category_id"]])
  except (KeyError, TypeError) as error:
    raise ValueError(
      f"{path} must have COCO's images, categories and annotations of these"
      f" images; got {type(error).__name__}: {error}"
    ) from error
  return there


def read_synonyms(path: str) -> chair.Synonyms:
  """Return the words that mean an object; JSON where the name ends in ".json".

  Raises:
    ValueError: the file has another form; names it.
  """
  _refuse_pickle(path)
  if path.endswith(".json"):
    words = rows.parsed(path)
    if not isinstance(words, dict) or not all(
      isinstance(some, list) and all(isinstance(x, str) for x in some)
      for some in words.values()
    ):
      raise ValueError(
        f"{path} must be an object from names of objects to lists of words; got"
        f" {json.dumps(words)[:60]}"
      )
  else:
    text = text_files.read(path)
    if text is None:
      raise ValueError(f"there is no {path}")
    lines = [line.split(",") for line in text_files.lines(text) if line]
    words = {line[0].strip(): line[1:] for line in lines}
  try:
    return chair.make_synonyms(words)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def read_questions(path: str, split: str) -> dict[str, pope.Question]:
  """Return the questions of one of POPE's files by their number.

  Args:
    path: file, as coco_pope_random.json, which has JSON lines.
    split: name of the split, as pope.RANDOM.

  Raises:
    ValueError: a row lacks a field, has a label that is neither yes nor no, or
      the number of another.
  """
  asked: dict[str, pope.Question] = {}
  for line, row in enumerate(_listed(path), 1):
    where = f"{path}, row {line}"
    label = rows.field_of(row, "label", str, where)
    number = str(row.get("question_id", line))
    if label not in ("yes", "no") or number in asked:
      raise ValueError(
        f"{where}: expected a question_id of its own and a label of yes or no;"
        f" got {number!r} and {label!r}"
      )
    image, text = (rows.field_of(row, x, str, where) for x in ("image", "text"))
    asked[number] = pope.Question(image, text, label == "yes", split)
  return asked


def read_answers(
  path: str, questions: Mapping[str, pope.Question]
) -> list[str]:
  """Return the answer to each question, in the order of the questions.

  Raises:
    ValueError: a row has no answer, the answers are not those of the
      questions, or the question of a row is another, but for its case.
  """
  listed = _listed(path)
  answers = [
    rows.field_of(row, "answer", str, f"{path}, row {number}")
    for number, row in enumerate(listed, 1)
  ]
  numbers = [str(row.get("question_id", "")) for row in listed]
  if not any(numbers) and len(answers) == len(questions):
    for number, (row, asked) in enumerate(
      zip(listed, questions.values(), strict=True), 1
    ):
      text = str(row.get("question", asked.text))
      if text.strip().casefold() != asked.text.strip().casefold():
        raise ValueError(
          f"{path}, row {number}: expected the answer to {asked.text!r}; got"
          f" that to {text!r:.80}"
        )
    return answers
  by_number = dict(zip(numbers, answers, strict=True))
  if len(by_number) < len(answers) or by_number.keys() != questions.keys():
    raise ValueError(
      f"{path} must have one answer to each of the {len(questions)} questions,"
      f" by question_id, or in their order without; got {len(answers)} answers"
      f" and {len(by_number.keys() & questions.keys())} of these question_ids"
    )
  return [by_number[number] for number in questions]


def _listed(path: str) -> list[dict[str, Any]]:
  """Return the rows of a table, a JSON array or JSON lines."""
  _refuse_pickle(path)
  text = text_files.read(path)
  if text is None:
    raise ValueError(f"there is no {path}")
  if delimiter := _TABLES.get(path[-4:], ""):
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    listed = [*reader]
  elif text.lstrip().startswith("["):
    listed = rows.parsed(path)
  else:
    listed = rows.parsed_lines(path)
  if not listed or not all(isinstance(row, dict) for row in listed):
    raise ValueError(
      f"{path} must have at least one row, all of them objects; got"
      f" {json.dumps(listed)[:60]}"
    )
  return listed


def _name(row: Mapping[str, Any], where: str) -> str:
  """Return the number or name of a row's image as a text."""
  name = row.get("image_id")
  if isinstance(name, bool) or not isinstance(name, (int, str)) or name == "":
    raise ValueError(
      f"{where}: expected image_id, a number or a name; got {name!r:.60}"
    )
  return str(name)


def _texts(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
  if isinstance(listed := row.get("references"), str):
    row = {"references": rows.parsed_text(listed, where)}
  texts = rows.field_of(row, "references", list, where)
  if not all(isinstance(text, str) for text in texts):
    raise ValueError(
      f"{where}: expected references, a list of texts; got {texts!r:.60}"
    )
  return tuple(texts)


def _refuse_pickle(path: str) -> None:
  """Raise ValueError for a pickle, by its name."""
  if path.endswith(_PICKLES):
    raise ValueError(
      f"{path} is a pickle, which can run any code when it is read; expected"
      " JSON: convert it once in a program of yours that trusts it, or take a"
      " release in JSON"
    )

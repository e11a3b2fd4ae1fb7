"""Files of captions, references, objects and answers, and their records."""

import json

import pytest

from evaluators import summary
from evaluators.metrics.generation import pope
from evaluators.sets.disk import generated
from tests.evaluators import test_results_schema
from tests.input_pipeline.sources.layouts import test_captioned


def _file(folder, name, content):
  """Return the path of a file of JSON, of JSON lines or of text."""
  if name.endswith(".jsonl"):
    content = "".join(f"{json.dumps(row)}\n" for row in content)
  elif not isinstance(content, str):
    content = json.dumps(content)
  (folder / name).write_text(content)
  return str(folder / name)


def _said(*pairs):
  return [{"image_id": name, "caption": text} for name, text in pairs]


def test_nocaps_by_domain(tmp_path):
  nocaps = dict(test_captioned.NOCAPS)
  images = [
    {"id": row, "file_name": f"{row}.jpg", "domain": domain}
    for row, domain in enumerate(["in-domain", "in-domain", "near-domain"])
  ]
  texts = ["a dog on a mat", "two cats", "the red car"]
  nocaps |= {
    "images": images,
    "annotations": [
      {"image_id": row, "id": row, "caption": text}
      for row, text in enumerate(texts)
    ],
  }
  references = _file(tmp_path, "nocaps_val_4500_captions.json", nocaps)
  said = _said((0, "a dog"), ("1", "two cats"), (2, "a red car"))
  records = generated.judge(
    _file(tmp_path, "said.jsonl", said), references, tokenizer="regex"
  )
  made = records["captions"]
  assert (made["num_images"], made["num_references"]) == (3, 3)
  assert made["parts"]["in-domain"]["num_images"] == 2
  assert made["CIDEr (regex tokens)"] > made["chance"]["CIDEr (regex tokens)"]
  test_results_schema.validate(records)
  assert "in-domain" in summary.table(records)
  # COCO's form of results is an array.
  array = _file(tmp_path, "said.json", said)
  assert generated.judge(array, references, tokenizer="regex") == records


def test_objects(tmp_path):
  """CHAIR of COCO's instances, with synonyms in both of their forms."""
  instances = {
    "images": [{"id": 42}, {"id": 73}],
    "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
    "annotations": [
      {"image_id": 42, "category_id": 18},
      {"image_id": 73, "category_id": 1},
    ],
  }
  said = _said((42, "A puppy with a man"), (73, "a woman"))
  references = [
    {"image_id": 42, "references": ["a dog"]},
    {"image_id": 73, "references": ["the woman", "she"]},
  ]
  paths = (
    _file(tmp_path, "said.jsonl", said),
    _file(tmp_path, "references.jsonl", references),
  )
  objects = _file(tmp_path, "instances_val2014.json", instances)
  made = [
    generated.judge(
      *paths,
      tokenizer="regex",
      objects=objects,
      synonyms=_file(tmp_path, name, content),
    )
    for name, content in (
      ("words.json", {"person": ["man", "woman"], "dog": ["puppy"]}),
      ("synonyms.txt", "person, man, woman\ndog, puppy\n"),
    )
  ]
  assert made[0] == made[1]
  assert made[0]["objects"]["num_mentions"] == 3
  assert made[0]["objects"]["CHAIRi (regex words)"] == pytest.approx(1 / 3)
  test_results_schema.validate(made[0])


def test_references_of_each_form(tmp_path):
  for name, content, split, expected in (
    ("k.json", test_captioned.KARPATHY, "test", {"42": ("text 0.",)}),
    (
      "t.json",
      test_captioned.TEXTCAPS,
      "",
      {"8dc3": ("A sign", "A stop sign"), "99aa": ("A label",)},
    ),
    (
      "own.jsonl",
      [{"image_id": "x", "references": ["a", "b"], "domain": "in"}],
      "",
      {"x": ("a", "b")},
    ),
    (
      "own.csv",
      'image_id,references,domain\nx,"[""a, b"", ""c""]",in\n',
      "",
      {"x": ("a, b", "c")},
    ),
  ):
    read = generated.read_references(_file(tmp_path, name, content), split)
    assert read.captions == expected
  assert read.domains == {"x": "in"}


def test_answers_to_pope(tmp_path):
  """Files of POPE's release, answered in order or by number."""
  asked = [
    {
      "question_id": number,
      "image": f"COCO_val2014_{number // 3}.jpg",
      "text": "Is there a dog in the image?",
      "label": label,
    }
    for number, label in enumerate(["yes", "no", "yes"], 1)
  ]
  path = _file(tmp_path, "coco_pope_random.jsonl", asked)
  questions = generated.read_questions(path, pope.RANDOM)
  assert [x.is_there for x in questions.values()] == [True, False, True]
  answers = ["Yes", "no", "No."]
  question = "is there a dog in the image?"
  in_order = [{"question": question, "answer": answer} for answer in answers]
  numbered = [
    {"question_id": number, "answer": answers[number - 1]}
    for number in (3, 1, 2)
  ]
  for name, rows in (("a.jsonl", in_order), ("b.jsonl", numbered)):
    read = generated.read_answers(_file(tmp_path, name, rows), questions)
    assert read == answers
  assert pope.record(read, [*questions.values()])["recall"] == 0.5
  text = "question_id\tanswer\n2\tno\n3\tNo.\n1\tYes\n"
  table = _file(tmp_path, "c.tsv", text)
  assert generated.read_answers(table, questions) == answers
  for rows in (in_order[:2], numbered[:2], numbered + numbered[:1]):
    with pytest.raises(ValueError, match="to each of the 3 questions"):
      generated.read_answers(_file(tmp_path, "c.jsonl", rows), questions)
  other = _file(
    tmp_path, "e.jsonl", [*in_order[:2], in_order[2] | {"question": "?"}]
  )
  with pytest.raises(
    ValueError, match="row 3: expected the answer to 'Is there"
  ):
    generated.read_answers(other, questions)
  asked[1]["label"] = "maybe"
  with pytest.raises(ValueError, match="row 2.*got '2' and 'maybe'"):
    generated.read_questions(_file(tmp_path, "d.jsonl", asked), pope.RANDOM)


def test_messages(tmp_path):
  said = _file(tmp_path, "said.jsonl", _said((1, "a"), (2, "b")))

  def refused(message, read, *args, **kw):
    with pytest.raises(ValueError, match=message):
      read(*args, **kw)

  twice = _file(tmp_path, "twice.jsonl", _said((1, "a"), ("1", "b")))
  refused("row 2: image_id '1' has a second", generated.read_captions, twice)
  none = _file(tmp_path, "none.jsonl", [{"image_id": 1}])
  refused("row 1: expected 'caption'", generated.read_captions, none)
  nameless = _file(tmp_path, "nameless.jsonl", [{"caption": "a"}])
  refused("expected image_id.*got None", generated.read_captions, nameless)
  absent = str(tmp_path / "absent.jsonl")
  refused("there is no .*absent", generated.read_captions, absent)
  pickled = str(tmp_path / "refs(unc).p")
  for read in (generated.read_references, generated.read_objects):
    refused(r"refs\(unc\).p is a pickle", read, pickled)
  karpathy = _file(tmp_path, "k.json", test_captioned.KARPATHY)
  refused("split must be one of .* got ''", generated.read_references, karpathy)
  coco = dict(test_captioned.COCO)
  refused(
    r"must have a reference; got none of 1 images, as \['99'\]",
    *(generated.read_references, _file(tmp_path, "c.json", coco)),
  )
  textcaps = _file(tmp_path, "t.json", test_captioned.TEXTCAPS)
  refused("has no splits", generated.read_references, textcaps, "val")
  del coco["images"]
  broken = _file(tmp_path, "broken.json", coco)
  refused(
    "broken.json must have .* KeyError", generated.read_references, broken
  )
  refused("categories", generated.read_objects, broken)
  refused(
    "objects and synonyms must both be",
    *(generated.judge, said, textcaps),
    **{"objects": "x", "tokenizer": "regex"},
  )
  table = _file(tmp_path, "r.csv", "image_id,references\n1,a dog\n")
  refused("r.csv, row 1: not JSON", generated.read_references, table)
  rows = [{"image_id": name, "references": ["a"]} for name in (1, 2, "1")]
  table = _file(tmp_path, "r.jsonl", rows)
  refused(r"have one row; got \['1'\]", generated.read_references, table)
  words = _file(tmp_path, "words.json", {"dog": "puppy"})
  refused("names of objects to lists", generated.read_synonyms, words)
  lines = _file(tmp_path, "words.txt", "dog, cat\ncat, kitten\n")
  refused("words.txt: synonyms must be", generated.read_synonyms, lines)

"""Batches of fused models, from layouts, tables and tars: arrays and faults."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from PIL import Image

from input_pipeline import examples, loader, pipeline
from input_pipeline.asking import answers, rows
from input_pipeline.fusing import fused_data
from input_pipeline.inspecting import inspection, inspection_page
from models.fusion import fusion_config
from tests.input_pipeline.fusing import fixture
from tests.input_pipeline.images import encoded
from tests.input_pipeline.sources import tars
from tests.input_pipeline.videos import made
from training.objectives import fused


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  root = tmp_path_factory.mktemp("fused")
  fixture.msrvtt(root / "msrvtt")
  fixture.tgif(root / "tgif")
  return root


def _layout(root, layout, split, **fields):
  folder = root / layout.partition(".")[0].replace("_qa", "")
  return {
    "format": "layout",
    "layout": layout,
    "path": str(folder),
    "split": split,
  } | fields


def _batches(config, num=3, **options):
  made_rows = fused_data.make_rows(config.fusion, config.data)
  dataset = pipeline.make_train_dataset(
    config.data, batch_size=4, seed=1, fused=made_rows, **options
  )
  return list(itertools.islice(dataset, num))


def _assert_shapes(config, batch):
  """Compare names, shapes and types with those of the objective."""
  arrays = {k: v for k, v in batch.items() if k != examples.FAULTS}
  expected = dataclasses.asdict(fused.shapes(config))
  expected = {k: v for k, v in expected.items() if v is not None}
  got = fused.batch_of(arrays)
  assert {*arrays} == {*expected}
  for name, want in expected.items():
    value = getattr(got, name)
    assert (value.shape, value.dtype) == (want.shape, want.dtype), name


def _assert_equal(left, right):
  assert len(left) == len(right)
  for a, b in zip(left, right, strict=True):
    assert [*a] == [*b]
    jax.tree.map(np.testing.assert_array_equal, a, b)


def _videos(batch):
  """Return the number of each row's video, by its frames."""
  return [made.number(row[0, 0]) // fixture.STEP for row in batch["images"]]


def _retrieval(root, **fields):
  source = _layout(root, "msrvtt.captions", "train_7k")
  return fixture.config(root, "retrieval", source, **fields)


def _answers(root, split="train", **fields):
  source = _layout(root, "msrvtt.qa", split, question_fields=fixture.TYPED)
  fields = {"num_answers": 4} | fields
  return fixture.config(root, "answers", source, **fields)


def _choices(root, **fields):
  source = _layout(
    root, "tgif_qa.action", "train", question_fields=fixture.CHOICES
  )
  return fixture.config(root, "choices", source, **fields)


def test_tasks_are_those_of_the_models():
  tasks = {x for some in fusion_config.TASKS.values() for x in some}
  assert {*rows.TASKS} == tasks


def test_rows_of_one_video_share_a_group(root):
  config = _retrieval(root)
  tokenizer = pipeline.make_tokenizer(config.data)
  groups, words = {}, set()
  for batch in _batches(config, 4):
    _assert_shapes(config, batch)
    for video, tokens, group in zip(
      _videos(batch), batch["tokens"], batch["groups"], strict=True
    ):
      word, number = tokenizer.decode(tokens).split()
      assert number == str(video)
      words.add(word)
      groups.setdefault(video, set()).add(int(group))
  assert words == {"clip", "film"}
  assert {len(some) for some in groups.values()} == {1}
  assert len({x for some in groups.values() for x in some}) == fixture.NUM


def test_groups_of_rows_that_name_one_image(tmp_path):
  """In a table with a row for each caption, as COCO's."""
  (tmp_path / "a.mp4").write_bytes(fixture.video(0))
  (tmp_path / "b.mp4").write_bytes(fixture.video(1))
  captions = [("a", "one"), ("b", "two"), ("a", "three")]
  text = "".join(
    json.dumps({"video": f"{name}.mp4", "caption": caption}) + "\n"
    for name, caption in captions
  )
  (tmp_path / "captions.jsonl").write_text(text)
  source = {"format": "table", "path": str(tmp_path)}
  config = fixture.config(tmp_path, "retrieval", source)
  tokenizer = pipeline.make_tokenizer(config.data)
  group = {
    tokenizer.decode(tokens): int(number)
    for batch in _batches(config)
    for tokens, number in zip(batch["tokens"], batch["groups"], strict=True)
  }
  assert group["one"] == group["three"] != group["two"]


def test_answers_are_numbers_of_the_vocabulary(root):
  config = _answers(root)
  tokenizer = pipeline.make_tokenizer(config.data)
  seen = set()
  for batch in _batches(config, 4):
    _assert_shapes(config, batch)
    assert not batch[examples.FAULTS]
    for video, tokens, label in zip(
      _videos(batch), batch["tokens"], batch["labels"], strict=True
    ):
      seen.add((video, tokenizer.decode(tokens), int(label)))
  # Frequent answers first, then by letters.
  listed = ["red heart", "dog", "six", "two"]
  assert seen == {
    (video, question, listed.index(answers.normalised(answer)))
    for video, question, answer in fixture.ASKED
  }


def test_options_are_texts_with_the_question(root):
  config = _choices(root)
  tokenizer = pipeline.make_tokenizer(config.data)
  for batch in _batches(config):
    _assert_shapes(config, batch)
    for video, tokens, label in zip(
      _videos(batch), batch["tokens"], batch["labels"], strict=True
    ):
      assert label == video
      texts = [tokenizer.decode(row) for row in tokens]
      assert texts == [f"what does {video} do {x}" for x in fixture.OPTIONS]


def _humans(folder, name):
  """Write images with ten people's answers, and return their source."""
  members, lines = {}, ""
  for i, given in enumerate(
    (["red"] * 2 + ["Blue "] + ["?"] * 7, ["red"] * 5 + ["blue"] * 5, ["?"])
  ):
    pixels = np.full((40, 40, 3), 40 * i, np.uint8)
    image = encoded.by_pillow(Image.fromarray(pixels), "PNG")
    row = {"question": f"colour of {i}", "answers": given}
    (folder / f"{i}.png").write_bytes(image)
    members |= {f"{i}.png": image, f"{i}.json": json.dumps(row).encode()}
    lines += json.dumps(row | {"image": f"{i}.png"}) + "\n"
  (folder / "captions.jsonl").write_text(lines)
  tars.write(folder / "a.tar", members)
  if name == "tar":
    fields = (("question", "json.question"), ("answers", "json.answers"))
    return {"path": f"{folder}/a.tar", "question_fields": fields}
  fields = (("question", "question"), ("answers", "answers"))
  source = {"format": "table", "path": str(folder)}
  return source | {"question_fields": fields}


@pytest.mark.parametrize("name", ["table", "tar"])
def test_soft_answers_of_humans(tmp_path, name):
  (tmp_path / "answers.txt").write_text("blue\nred\n")
  config = fixture.config(
    tmp_path,
    "vqa",
    _humans(tmp_path, name),
    video={"clips": 0},
    num_answers=2,
    num_labels=3,
    answers_path=str(tmp_path / "answers.txt"),
  )
  expected = {
    0: ([0, 1, -1], [1 / 3, 2 / 3, 0]),
    1: ([0, 1, -1], [1, 1, 0]),
    2: ([-1, -1, -1], [0, 0, 0]),
  }
  seen = set()
  for batch in _batches(config):
    _assert_shapes(config, batch)
    for image, labels, scores in zip(
      batch["images"], batch["labels"], batch["scores"], strict=True
    ):
      index = int(image[0, 0, 0]) // 40
      seen.add(index)
      assert labels.tolist() == expected[index][0]
      np.testing.assert_allclose(scores, expected[index][1], rtol=1e-6)
  assert seen == {0, 1, 2}


def test_a_run_goes_on_where_it_stopped(root):
  config = _answers(root)
  whole = _batches(config)
  made_rows = fused_data.make_rows(config.fusion, config.data)
  dataset = pipeline.make_train_dataset(
    config.data, batch_size=4, seed=1, fused=made_rows
  )
  iterator = iter(dataset)
  next(iterator)
  resumed = iter(dataset)
  resumed.set_state(iterator.get_state())
  _assert_equal(list(itertools.islice(resumed, 2)), whole[1:])


def test_processes_share_the_stream(root):
  config = _choices(root)
  halves = [_batches(config, 1, rows=some)[0] for some in ((0, 1), (2, 3))]
  (whole,) = _batches(config, 1)
  for name in ("images", "tokens", "labels"):
    joined = np.concatenate([half[name] for half in halves])
    np.testing.assert_array_equal(joined, whole[name])


@pytest.mark.slow
def test_worker_processes_make_the_same_batches(root):
  config = _answers(root, num_answers=2)
  data = dataclasses.replace(config.data, num_workers=2)
  made_rows = fused_data.make_rows(config.fusion, data)
  dataset = pipeline.make_train_dataset(
    data, batch_size=4, seed=1, fused=made_rows
  )
  iterator = iter(dataset)
  try:
    _assert_equal([next(iterator) for _ in range(3)], _batches(config))
  finally:
    iterator.close()


def test_answers_outside_are_faults_that_end_no_run(root, tmp_path, caplog):
  config = _answers(root, num_answers=1)
  made_rows = fused_data.make_rows(config.fusion, config.data)
  assert made_rows.answers.listed == ("red heart",)
  assert "3 of 5 questions of data.sources.main (60.0 %)" in caplog.text
  # Faults of other kinds would end the run at the first batch.
  data = dataclasses.replace(config.data, max_bad_fraction=0.0)
  loaded = loader.make_loader(
    data, folder=tmp_path, batch_size=4, seed=1, fused=made_rows
  )
  for batch in itertools.islice(loaded, 8):
    assert batch["labels"].tolist() == [0] * 4
  assert loaded.bad_fraction == 0
  assert "answer_unknown" in loaded.summary()
  loaded.close()
  lines = (tmp_path / "data_errors.jsonl").read_text()
  assert "the answer must be one of the 1 of the vocabulary; got 'dog'" in lines


def test_bad_videos_are_named_and_the_run_goes_on(tmp_path):
  good = fixture.video(0)
  bad = {
    "one": (made.video(1), "video_too_short"),
    "sound": (made.sound(), "video_missing"),
    "cut": (good[:-100], "video_broken"),
    "turning": (made.turning(), "video_broken"),
  }
  videos = {"good": good} | {name: data for name, (data, _) in bad.items()}
  lines = ""
  for name, data in videos.items():
    (tmp_path / f"{name}.webm").write_bytes(data)
    row = {"video": f"{name}.webm", "question": "what", "answer": "good"}
    lines += json.dumps(row) + "\n"
  row = {"video": "good.webm", "question": "what", "answer": "ill"}
  (tmp_path / "captions.jsonl").write_text(lines + json.dumps(row) + "\n")
  (tmp_path / "answers.json").write_text(json.dumps({"good": 0, "fine": "1"}))
  source = {"format": "table", "path": str(tmp_path)}
  config = fixture.config(
    tmp_path,
    "answers",
    source | {"question_fields": fixture.QUESTIONS},
    num_answers=2,
    answers_path=str(tmp_path / "answers.json"),
  )
  found = {}
  for batch in _batches(config, 8):
    assert _videos(batch) == [0] * 4
    found |= {fault.key: fault.kind for fault in batch[examples.FAULTS]}
  # Keys have the numbers of rows.
  expected = {
    f"{name}.webm#{row}": kind
    for row, (name, (_, kind)) in enumerate(bad.items(), 1)
  }
  assert found == expected | {"good.webm#5": "answer_unknown"}


@pytest.mark.parametrize(
  ("row", "kind", "message"),
  [
    ({"options": ["a", "b"], "answer": 0}, "record_broken", "5 options"),
    ({"answer": 5}, "record_broken", "index of the 5 options"),
    ({"answer": None}, "record_broken", "and an answer"),
    ({"options": {"a": 1}}, "caption_broken", "a list of texts"),
    ({"question": " ", "options": None}, "caption_missing", "neither"),
    ({"question": "x" * 20_000}, "caption_too_long", "max_caption_chars"),
  ],
)
def test_questions_that_cannot_be_asked(tmp_path, row, kind, message):
  good = {"question": "what", "options": fixture.OPTIONS, "answer": 1}
  lines = ""
  for i, fields in enumerate((good, good | row)):
    (tmp_path / f"{i}.mp4").write_bytes(fixture.video(i))
    lines += json.dumps({"video": f"{i}.mp4"} | fields) + "\n"
  (tmp_path / "captions.jsonl").write_text(lines)
  source = {"format": "table", "path": str(tmp_path)}
  config = fixture.config(
    tmp_path, "choices", source | {"question_fields": fixture.CHOICES}
  )
  batch = _batches(config, 1)[0]
  assert _videos(batch) == [0] * 4
  assert {fault.kind for fault in batch[examples.FAULTS]} == {kind}
  assert message in batch[examples.FAULTS][0].message


def test_a_run_keeps_its_answers(root, tmp_path):
  config = _answers(root, num_answers=3)
  made_rows = fused_data.make_rows(config.fusion, config.data, folder=tmp_path)
  assert made_rows.answers.guess("what") == "red heart"
  assert made_rows.answers.guess("how") == "six"
  assert made_rows.answers.guess("who") == "red heart"
  fused_data.keep(made_rows, tmp_path)
  # Another split has other answers; those of the run are read.
  other = _answers(root, "test", num_answers=3)
  kept = fused_data.make_rows(other.fusion, other.data, folder=tmp_path)
  assert kept == made_rows
  other = _answers(root, num_answers=4)
  with pytest.raises(ValueError, match=r"num_answers must be 3, .*; got 4"):
    fused_data.make_rows(other.fusion, other.data, folder=tmp_path)
  (tmp_path / answers.FILE).write_text("[]")
  with pytest.raises(ValueError, match=r"answers\.json must be the answers"):
    fused_data.make_rows(config.fusion, config.data, folder=tmp_path)


def test_what_a_task_needs(root, tmp_path):
  def refused(config, match):
    with pytest.raises(ValueError, match=match):
      fused_data.make_rows(config.fusion, config.data)

  refused(
    _answers(root, num_answers=5),
    r"num_answers must be at most the 4 different answers .*; got 5",
  )
  (tmp_path / "two.txt").write_text("red\nblue\n")
  path = str(tmp_path / "two.txt")
  refused(
    _answers(root, answers_path=path), r"num_answers must be 2, .*; got 4"
  )
  refused(_retrieval(root, answers_path=path), 'answers_path must be ""')
  (tmp_path / "two.txt").write_text("red\nRED\n")
  refused(_answers(root, answers_path=path), r"each once .*\['red'\]")
  choices = _choices(root)
  other = dataclasses.replace(choices.fusion, task="vqa", num_answers=2)
  refused(
    dataclasses.replace(choices, fusion=other),
    "must name question and answers with fusion.task='vqa'; got question",
  )
  other = dataclasses.replace(choices.fusion, task="retrieval")
  refused(dataclasses.replace(choices, fusion=other), r"must be \(\) with")


def test_sections_of_questions(root):
  def refused(match, fields, **source):
    config = _answers(root)
    section = dataclasses.replace(
      config.data.sources["main"], question_fields=fields, **source
    )
    data = dataclasses.replace(config.data, sources={"main": section})
    with pytest.raises(ValueError, match=match):
      pipeline.open_sources(data)

  refused("must name some of question, answer", (("colour", "colour"),))
  refused("must name question or options", (("answer", "answer"),))
  refused("templates cannot stand beside", fixture.TYPED, templates=("a {}",))
  fields = (("question", "query"), ("answer", "answer"))
  refused(r"main.question_fields must be among .*got 'query'", fields)
  refused(
    "needs a format with such fields", fixture.TYPED, format="tfds", layout=""
  )


def test_the_page_shows_questions(root, tmp_path):
  for config, texts in (
    (_answers(root, num_answers=3), ["what is it", "dog", "Replaced"]),
    (_choices(root), ["what does 1 do", "class=right", "(right)"]),
  ):
    path = tmp_path / "page.html"
    inspection_page.write(
      path,
      config.data,
      batch_size=4,
      seed=1,
      num_examples=4,
      fusion=config.fusion,
    )
    html = path.read_text()
    assert not [text for text in texts if text not in html]
    made_rows = fused_data.make_rows(config.fusion, config.data)
    shown, _ = inspection.first_examples(
      config.data, batch_size=4, seed=1, count=4, fused=made_rows
    )
    (batch,) = _batches(config, 1)
    for row, one in enumerate(shown):
      if one.options:
        assert one.answer == fixture.OPTIONS[int(batch["labels"][row])]
        assert one.decoded == f"{one.caption} {one.answer}"
      elif one.answer:
        label = int(batch["labels"][row])
        assert one.answer.lower() == made_rows.answers.listed[label]
        assert one.decoded == one.caption

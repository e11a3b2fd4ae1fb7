"""Layouts, vocabularies and batches of questions, with their faults."""

import dataclasses
import pathlib

import numpy as np
import pytest

from input_pipeline.images import image_protocols
from input_pipeline.questions import (
  layouts,
  question_data,
  vocabulary,
  word_vectors,
)
from models.vqa import answering
from tests.input_pipeline.questions import fixture

PROTOCOL = image_protocols.PROTOCOLS["clip"].at(16)
QCR = answering.AnsweringConfig(
  kind="qcr", width=8, word_width=4, autoencoder_size=8
)


def _config(folder: pathlib.Path, **fields) -> question_data.VqaConfig:
  values = {"layout": "vqa_rad", "validation_share": 0.3, "model": QCR}
  return question_data.VqaConfig(path=str(folder), **values | fields)


def _read(folder: pathlib.Path, **fields) -> question_data.Data:
  config = _config(folder, **fields)
  config.check()
  return question_data.read(config, PROTOCOL, seed=0)


def test_vqa_rad_without_leak(tmp_path: pathlib.Path):
  data = _read(fixture.write_rad(tmp_path / "rad"))
  train, held_out = data.splits["train"], data.splits["validation"]
  assert len(train) + len(held_out) == 10
  assert len(data.splits["test"]) == 3
  # An image is in one of the two alone.
  images = [{q.image for q in part.questions} for part in (train, held_out)]
  assert not images[0] & images[1]
  # No answer and no word is the test split's.
  known = {q.answer for q in train.questions}
  for listed in data.answers.heads.values():
    assert {x.removesuffix("#") for x in listed} <= known
  assert "kind 7" not in data.answers.heads["open"]
  assert "strangely" not in data.words.listed
  test = data.splits["test"]
  assert test.label_N.tolist()[1:] == [-1, -1]  # "kind 0" is no closed answer
  assert test.num_outside == 2
  assert any("Split test: 2 of 3 answers" in note for note in data.notes)
  assert data.selection == "validation"


def test_legacy_protocol_knows_the_test_split(tmp_path: pathlib.Path):
  data = _read(fixture.write_rad(tmp_path / "rad"), legacy_protocol=True)
  assert [*data.splits] == ["train", "test"]
  assert data.selection == "test"
  assert data.splits["test"].num_outside == 0
  assert "strangely" in data.words.listed
  assert data.answers.heads["closed"] == ("kind 0#", "no", "yes")
  assert "kind 0" in data.answers.heads["open"]
  assert any("no estimate" in note for note in data.notes)


def test_slake_has_english_questions_and_a_split_of_its_own(tmp_path):
  folder = fixture.write_slake(tmp_path / "slake")
  data = _read(folder, layout="slake")
  assert [len(part) for part in data.splits.values()] == [1, 1, 1]
  assert data.splits["validation"].questions[0].answer == "lung"
  one = dataclasses.replace(QCR, kind="mevf")
  assert _read(folder, layout="slake", model=one).num_answers == {"all": 1}


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({1: "gone.png"}, "qid 2: its image images/gone.png is no file"),
    ({4: None}, "qid 2: answer_type must be CLOSED or OPEN; got None"),
    ({4: "BOTH"}, "qid 2: answer_type must be CLOSED or OPEN; got 'BOTH'"),
    ({3: " "}, "qid 2: answer is missing"),
  ],
)
def test_faults_name_the_question(tmp_path, change, message):
  rows = [[*row] for row in fixture.RAD]
  for field, value in change.items():
    rows[2][field] = value
  folder = fixture.write_rad(tmp_path / "rad", rows)
  with pytest.raises(ValueError, match=r"1 of 10 questions cannot") as error:
    layouts.read(folder, "vqa_rad")
  assert message in str(error.value)


def test_faults_name_the_file(tmp_path: pathlib.Path):
  folder = fixture.write_rad(tmp_path / "rad")
  (folder / "images/3.png").write_bytes(b"no image")
  with pytest.raises(ValueError, match=r"3\.png: image_broken"):
    _read(folder)
  (folder / "testset.json").unlink()
  with pytest.raises(ValueError, match=r"testset\.json must be a list"):
    _read(folder)
  missing = _config(tmp_path / "none", glove_path="glove.txt")
  with pytest.raises(ValueError, match="2 problems") as error:
    missing.check_paths()
  assert "vqa.path must be a folder" in str(error.value)


def test_tokens_are_cut_padded_and_unknown_words_are_the_last():
  words = vocabulary.Words(("is", "it", "white"))
  tokens = words.tokens(["Is it?", "white snow is it"], 3)
  assert tokens.tolist() == [[0, 1, 3], [2, 2, 0]]
  assert words.num_unknown(["Is it snow?"]) == 1


def test_glove_is_read_and_averaged_over_neighbours(tmp_path: pathlib.Path):
  path = tmp_path / "glove.txt"
  path.write_text("it 1 0\nsnow 5 5\nis 0 2\n")
  words = ("is", "it", "white")
  vectors, found = word_vectors.read_glove(str(path), words, 2)
  assert vectors.tolist() == [[0, 2], [1, 0], [0, 0]]
  assert found == 2
  means = word_vectors.tf_idf_means(
    vectors, ["is it white", "is it", "it"], words
  )
  # Neighbours of "white": "is" and "it", a pair each, in 2 and 3 questions.
  weights = np.array([1 / 2, 1 / 3])
  expected = weights @ vectors[:2] / weights.sum()
  np.testing.assert_allclose(means[2], expected, rtol=1e-6)
  path.write_text("it 1 0 3\n")
  with pytest.raises(ValueError, match="line 1 must be a word and"):
    word_vectors.read_glove(str(path), words, 2)


def test_batches_are_rows_and_resume(tmp_path: pathlib.Path):
  data = _read(fixture.write_rad(tmp_path / "rad"))
  size = len(data.splits["train"])
  batches = question_data.make_loader(data, batch_size=2, seed=3, folder=None)
  first, state = next(batches), batches.get_state()
  second = next(batches)
  batches.set_state(state)
  np.testing.assert_array_equal(next(batches)["tokens"], second["tokens"])
  assert first["images"].shape == (2, 16, 16, 3)
  assert first["grey"].shape == (2, 8, 8)
  part = data.splits["train"]
  expected = PROTOCOL.apply(fixture.image(int(part.questions[0].image[0])))
  got = data.arrays("train", np.array([0]))["images"][0]
  np.testing.assert_array_equal(got, expected)
  with pytest.raises(ValueError, match=f"at most the {size} questions"):
    question_data.make_loader(data, batch_size=99, seed=3, folder=None)
  batches.close()

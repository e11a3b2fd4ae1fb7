"""Data of ALIGN's study: parts, wrong captions, languages, tokenizer."""

import pytest

from experiments.align import config, prepare, study
from experiments.parts import emoji_styles
from input_pipeline.sources import array_record, prepared

NUM = 400


def _pair(number, artist):
  texts = {x: (f"{x} emoji {number}",) for x in emoji_styles.LANGUAGES}
  tone = "-1F3FB" if number % 2 else ""
  key = f"{artist}:{0x1F600 + number // 2:X}{tone}"
  return array_record.Record(key, b"image", texts)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("align")
  splits = {
    "train": [_pair(n, artist) for artist in ("a", "b") for n in range(NUM)],
    "test": [_pair(n, "c") for n in range(5)],
  }
  prepared.prepare(
    folder / "emoji" / emoji_styles.RECORDS, lambda: splits, versions={"a": "1"}
  )
  facts = prepare.make(folder / "emoji", folder / "out")
  assert prepare.make(folder / "emoji", folder / "out") == facts
  return folder / "out", facts


def _read(folder, split):
  records = prepared.records(folder / emoji_styles.RECORDS, split)
  return {records[i].key: records[i].texts for i in range(len(records))}


def test_parts(made):
  folder, facts = made
  english, quarter = (_read(folder, split) for split in ("english", "quarter"))
  assert len(english) == facts["english"]["pairs"] == 2 * NUM
  assert facts["english"]["wrong"] == facts["quarter"]["wrong"] == 0
  assert 0.15 < len(quarter) / len(english) < 0.35
  # A concept is there with its skin tones and all its artists, or not at all.
  concepts = {key.split(":")[1].split("-")[0] for key in quarter}
  assert len(quarter) == 4 * len(concepts)
  assert {*_read(folder, "noisy_quarter")} == {*quarter}


def test_wrong_captions(made):
  folder, facts = made
  english = _read(folder, "english")
  wrong = {}
  for split, share in (("noisy", 0.5), ("noisy_half", 0.25)):
    noisy = _read(folder, split)
    wrong[split] = {
      key for key, texts in noisy.items() if texts != english[key]
    }
    assert facts[split]["wrong"] == len(wrong[split])
    assert abs(len(wrong[split]) / len(english) - share) < 0.06
    # No name is lost: they change places.
    assert sorted(map(str, noisy.values())) == sorted(
      map(str, english.values())
    )
  assert len(wrong["noisy_half"] - wrong["noisy"]) <= 2


def test_languages(made):
  folder, _ = made
  texts = next(iter(_read(folder, "languages").values()))
  assert [*texts] == ["en"]
  assert len(texts["en"]) == len(emoji_styles.LANGUAGES)
  german = _read(folder, "test_de")
  assert {x["en"][0][:8] for x in german.values()} == {"de emoji"}
  assert (folder / "tokenizer" / "tokenizer.json").is_file()


def test_all_arms_have_distinct_changes_of_the_config():
  made = config.get_config()
  for trial in study.get_study():
    with made.unlocked():
      made.update_from_flattened_dict(trial)
  assert len(study.get_study()) == 3 * len(study.STUDY.arms)
  assert {*made.evaluate.sets} == {*emoji_styles.LANGUAGES}

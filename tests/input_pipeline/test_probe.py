"""Examples and languages of sources, looked for before a run begins."""

import json

import pytest

from input_pipeline import faults, probe
from input_pipeline.sources import table
from tests.input_pipeline import fake_records
from tests.input_pipeline.sources import pairs


def _table(folder, *languages, **fields):
  (folder / "a.png").write_bytes(pairs.png(1))
  (folder / "captions.jsonl").write_text(
    "\n".join(
      json.dumps({"image": "a.png", "caption": "a", "lang": language})
      for language in languages
    )
  )
  source = pairs.source("table", folder, **fields)
  return table.open_split(source, "", pairs.context(folder)), source


def _check(languages, **tables):
  probe.check_languages(
    {name: records for name, (records, _) in tables.items()},
    {name: source for name, (_, source) in tables.items()},
    languages,
  )


def test_a_language_may_be_anywhere_in_any_spelling(tmp_path):
  languages = ["en"] * 400
  languages[250] = "zh_CN"
  main = _table(tmp_path, *languages, language_field="lang")
  _check(("en", "zh-Hans"), main=main)
  with pytest.raises(ValueError, match="is in fr, de, of data") as e:
    _check(("fr", "en", "de"), main=main)
  assert "have en, zh_CN (read: 400 of 400 of data.sources.main)" in str(
    e.value
  )


def test_it_is_looked_for_in_all_sources(tmp_path):
  (tmp_path / "b").mkdir()
  main = _table(tmp_path, "", language_field="lang")
  other = _table(tmp_path / "b", "", language="de")
  _check(("en", "de"), main=main, other=other)
  with pytest.raises(ValueError, match="no caption is in de,"):
    _check(("en", "de"), main=main)


def test_a_search_that_ends_early_warns_where_languages_vary(
  tmp_path, monkeypatch, caplog
):
  monkeypatch.setattr(probe, "SEARCH_SECONDS", 0.0)
  monkeypatch.setattr(probe, "NUM_PROBED", 2)
  languages = ["en", "de"] * 50
  _check(("fr",), main=_table(tmp_path, *languages, language_field="lang"))
  assert "no caption is in fr," in caplog.text
  with pytest.raises(ValueError, match="have en .read: [23] of 100 of"):
    _check(("fr",), main=_table(tmp_path, *languages))


def test_one_example_is_read_where_it_suffices():
  records = fake_records.Records("a", 1000)
  _check(("en",), main=(records, pairs.source("table", "x")))
  assert records.touched == [0]


@pytest.mark.parametrize("length", [1, 2, 3, 10, 97, 100])
def test_every_example_is_read_once(length):
  order = list(probe._spread(length))
  assert sorted(order) == list(range(length))


class _Dead:
  """Records at an address that never answers, a minute for each."""

  def __init__(self):
    self.seconds = 0.0
    self.num_read = 0

  def __len__(self):
    return 1000

  def __getitem__(self, index):
    self.seconds += 62.5
    self.num_read += 1
    raise faults.ExampleError("read_failed", f"http://h/{index}: no answer")


def test_a_dead_address_ends_the_probe(monkeypatch):
  records = _Dead()
  monkeypatch.setattr(probe.time, "monotonic", lambda: records.seconds)
  with pytest.raises(
    ValueError,
    match="none of the first 5 examples of data.sources.main can be used: "
    "read_failed: http://h/0: no answer",
  ):
    probe.check("main", pairs.source("table", "x"), records, ("en",))
  assert records.num_read == 5

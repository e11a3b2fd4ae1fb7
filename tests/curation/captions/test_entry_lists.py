"""The forms in which metadata are read."""

import pytest

from curation.captions import entry_lists


def test_reads_a_file_for_each_language_in_order(tmp_path):
  (tmp_path / "zh.txt").write_text("山\n水")
  (tmp_path / "en.txt").write_bytes(b"\xef\xbb\xbfred car\r\nsea\r\n")
  (tmp_path / "metadata.json").write_text("{}")
  metadata = entry_lists.open_metadata(str(tmp_path))
  assert metadata.languages == ("en", "zh")
  assert metadata.starts.tolist() == [0, 2, 4]
  lists = [metadata.read(number).to_pylist() for number in range(2)]
  assert lists == [["red car", "sea"], ["山", "水"]]
  found = [metadata.number(name, {"wuu": "zh"}) for name in ("zh-tw", "wuu")]
  assert found == [1, 1]
  assert metadata.number("de", {}) == -1


def test_codes_may_be_spelled_in_any_way(tmp_path):
  for name in ("he", "pt-br", "zh", "zh-Hant"):
    (tmp_path / f"{name}.txt").write_text("a\n")
  metadata = entry_lists.open_metadata(str(tmp_path))
  wanted = {"iw": "he", "pt": "pt-br", "ZH_cn": "zh", "zh_TW": "zh-Hant"}
  wanted |= {"zh-HK": "zh", "wuu_CN": "zh"}
  assert {
    name: metadata.languages[metadata.number(name, {"WUU": "zh"})]
    for name in wanted
  } == wanted


def test_other_has_what_no_language_has(tmp_path):
  for name in ("en", "other"):
    (tmp_path / f"{name}.txt").write_text("a\n")
  metadata = entry_lists.open_metadata(str(tmp_path))
  assert metadata.number("de", {}) == 1


def test_reads_lists_of_words_of_a_package():
  metadata = entry_lists.open_metadata("wordfreq:7:en,de")
  assert metadata.languages == ("de", "en")
  assert metadata.starts.tolist() == [0, 7, 14]
  assert "the" in metadata.read(1).to_pylist()


@pytest.mark.parametrize(
  ("name", "data", "message"),
  [
    ("a.txt", b"", "is empty"),
    ("a.csv", b"a", "expected a folder of LANGUAGE.txt, a .txt"),
    ("a.json", b"[1]", "must hold a list of strings"),
    ("a.json", b"[", "must be JSON"),
    ("a.txt", b"\xff", "must be UTF-8"),
  ],
)
def test_refuses_other_files(tmp_path, name, data, message):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(ValueError, match=message):
    entry_lists.open_metadata(str(tmp_path / name)).read(0)


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("wordfreq:en", "expected wordfreq:NUMBER:LANGUAGE"),
    ("wordfreq:10:xx", "has no words of xx"),
    ("", "there is no ''"),
  ],
)
def test_refuses_other_names(path, message):
  with pytest.raises(ValueError, match=message):
    entry_lists.open_metadata(path)


def test_refuses_a_folder_without_entries(tmp_path):
  with pytest.raises(ValueError, match="has no LANGUAGE.txt"):
    entry_lists.open_metadata(str(tmp_path))

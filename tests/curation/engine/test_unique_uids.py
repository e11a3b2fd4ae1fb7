"""UIDs of several examples are found before anything is selected."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from curation import pools, recipe, runner
from curation.engine import engines, unique_uids
from curation.on_disk import runs
from curation.outputs import curation_page
from curation.rules import sizes
from input_pipeline.selecting import subset
from input_pipeline.sources import webdataset
from runtime import failures
from tests.curation import synth
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs, tars


def _curate(folder, source, engine=None, words=2):
  config = reading.config_of(source)
  opened = pools.FORMATS[config.format].open_pool(config, folder / "cache")
  step = sizes.WordCount(words, 0, "split")
  made = recipe.Recipe(config, str(folder / "cache"), 1, {"words": step})
  workdir = folder / "work"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(curation_page, "write", lambda *args, **fields: None)
    return runner.curate(made, opened, workdir, engine or engines.Inline())


def _write_tars(folder, num_tars=2, num=4, *, prefix=""):
  """Write tars whose even examples have a caption of one word."""
  for number in range(num_tars):
    (folder / f"{number:03d}").mkdir(exist_ok=True)
    members = {}
    for i in range(num):
      key = f"{prefix and number}{prefix}{i:05d}"
      members[f"{key}.png"] = pairs.png(i)
      text = f"tar {number} {i}" if (i + number) % 2 else "tar"
      members[f"{key}.txt"] = text.encode()
    tars.write(folder / f"{number:03d}" / "0.tar", members)
  return folder / "*" / "0.tar"


def test_tars_that_number_alike(tmp_path):
  path = _write_tars(tmp_path)
  source = pairs.source("webdataset", path)
  message = (
    r"pool\.path: 4 UIDs .* example (\d) in .*/000/0\.tar and of example \1 in "
    r".*/001/0\.tar\.\nSet pool\.uid=\"file\+key\""
  )
  for _ in range(2):  # also when the first stage was done before
    with pytest.raises(failures.RunError, match=message):
      _curate(tmp_path, source)
  assert not (tmp_path / "work" / runner.SELECTION).exists()
  assert not list(tmp_path.glob("work/stages/*/uids"))


def test_a_selection_with_file_names_fits_training(tmp_path):
  path = _write_tars(tmp_path)
  selection = tmp_path / "work" / runner.SELECTION
  source = pairs.source(
    "webdataset", path, uid="file+key", subset=str(selection)
  )
  manifest = _curate(tmp_path, source)
  assert (manifest["num_kept"], manifest["num_uids"]) == (4, 4)
  place = pairs.context(tmp_path)
  records = webdataset.open_split(source, "", place)
  chosen = subset.select(records, source, place)
  texts = [chosen[i].texts["en"][0] for i in range(len(chosen))]
  assert texts == ["tar 0 1", "tar 0 3", "tar 1 0", "tar 1 2"]
  # In other folders the tars have the same names, and so the same UIDs.
  moved = tmp_path / "moved"
  moved.mkdir()
  other = pairs.source("webdataset", _write_tars(moved), uid="file+key")
  np.testing.assert_array_equal(
    webdataset.open_split(other, "", place).uids(), records.uids()
  )


@pytest.mark.parametrize("name", ["tars", "parquet", "jsonl", "table"])
def test_pools_have_the_uids_of_training(tmp_path, name):
  """Also with keys that pandas has made floats of."""
  rows = [
    {"image": "0.png", "caption": f"a {i}", "key": key}
    for i, key in enumerate([1, 2.0, 3.5, None, float("nan"), -0.0, 2.0**53])
  ]
  (tmp_path / "0.png").write_bytes(pairs.png(0))
  if name == "tars":
    path = _write_tars(tmp_path)
    cases = [("webdataset", path, uid) for uid in ("", "file+key")]
  elif name == "parquet":
    table = pa.Table.from_pylist(
      [row | {"image": pairs.png(0)} for row in rows],
      pa.schema(
        [("image", "binary"), ("caption", "string"), ("key", "float64")]
      ),
    )
    for file in ("a", "b"):
      parquet.write_table(table, tmp_path / f"{file}.parquet", row_group_size=3)
    cases = [
      ("parquet", tmp_path / "*.parquet", uid)
      for uid in ("", "key", "file+key", "file+row")
    ]
  else:
    lines = [json.dumps(row) + "\n" for row in rows]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    cases = [
      ("table", tmp_path / "a.jsonl", uid) for uid in ("", "key", "file+row")
    ]
  from input_pipeline import sources

  for format, path, uid in cases:
    source = pairs.source(format, path, uid=uid)
    place = pairs.context(tmp_path)
    records = sources.FORMATS[format].open_split(source, "", place)
    opened, shards = reading.open_pool(source, tmp_path / "cache")
    found = reading.rows_of(opened, shards, ("text", "language", "image"))
    assert [
      (row["pair"], row["fault"].partition(":")[0])
      if row["fault"]
      else (row["pair"], row["language"], row["text"], row["image"])
      for row in found
    ] == reading.expected_of(records)
    num_faults = sum(bool(row["fault"]) for row in found)
    has_float_keys = name != "tars" and uid != "file+row"
    assert num_faults == has_float_keys * (2 if name == "parquet" else 1)


def test_captions_and_faults_are_no_examples(tmp_path):
  """Several captions share a UID; what cannot be read is not selected."""
  members = {}
  for i, text in enumerate(["two words", "", "", "three words here"]):
    key = "same" if i in (1, 2) else str(i)
    members[f"{key}-{i}.png" if i == 2 else f"{key}.png"] = pairs.png(i)
    texts = {"texts": [text, text] if text else []}
    members[f"{key}.json"] = json.dumps(texts).encode()
  for name in ("a", "b"):
    kept = {k: v for k, v in members.items() if "same" in k or name == "a"}
    tars.write(tmp_path / f"{name}.tar", kept)
  manifest = _curate(
    tmp_path, pairs.source("webdataset", tmp_path / "[ab].tar")
  )
  assert (manifest["num_kept"], manifest["num_uids"]) == (4, 2)
  assert manifest["read"]["dropped"]["caption_missing"] >= 2


def test_captions_around_a_fault_are_of_one_example(tmp_path):
  columns = {"text": pa.array(["a b"] * 4)}
  steps = {"words": sizes.WordCount(1, 0, "split")}
  names = [0, 1, 2, 4 << 16]

  class Pool(synth.Pool):
    def read(self, shard, columns, **fields):
      del shard, columns, fields
      yield pa.table(
        {
          "uid": pa.array(
            [bytes([n >> 16] * 16) for n in names], pa.binary(16)
          ),
          "row": pa.array(names),
          "fault": pa.array([None, "caption_missing: none", None, None]),
          "text": pa.array(["a b"] * 4),
        }
      )

  config = reading.config_of(pairs.source("parquet", ""))
  made = recipe.Recipe(config, str(tmp_path), 1, steps)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(curation_page, "write", lambda *args, **fields: None)
    manifest = runner.curate(
      *(made, Pool(pa.table(columns), [[0, 1, 2, 3]]), tmp_path / "w"),
      engines.Inline(),
    )
  assert (manifest["num_kept"], manifest["num_uids"]) == (3, 2)


def test_images_of_a_folder_are_named(tmp_path):
  for name in ("a", "b"):
    (tmp_path / "images" / name).mkdir(parents=True)
    (tmp_path / "images" / name / "0.png").write_bytes(pairs.png(0))
    row = {"file_name": "0.png", "text": f"two {name}", "key": 0}
    path = tmp_path / "images" / name / "metadata.jsonl"
    path.write_text(json.dumps(row) + "\n")
  source = pairs.source("folder", tmp_path / "images")
  message = r": 1 UIDs .*/images/a/0\.png .*/images/b/0\.png\.\n.*file\+key"
  with pytest.raises(failures.RunError, match=message):
    _curate(tmp_path, source)
  (tmp_path / "again").mkdir()
  source = pairs.source("folder", tmp_path / "images", uid="file+key")
  assert _curate(tmp_path / "again", source)["num_kept"] == 2


def test_many_shards_are_merged_in_parts(tmp_path, monkeypatch):
  monkeypatch.setattr(runs, "_FAN_IN", 3)
  monkeypatch.setattr(runs, "_ROWS", 5)
  path = _write_tars(tmp_path, 7, prefix="-")
  source = pairs.source("webdataset", path)
  manifest = _curate(tmp_path, source)
  assert manifest["num_kept"] == 14
  (done,) = tmp_path.glob("work/stages/00*/unique_uids.txt")
  before = done.stat().st_mtime_ns
  monkeypatch.setattr(unique_uids, "_sort", None)  # not checked again
  _curate(tmp_path, source)
  assert done.stat().st_mtime_ns == before
  # Equal hashes of different UIDs are no repeat.
  monkeypatch.undo()
  done.unlink()
  monkeypatch.setattr(
    unique_uids.hashing,
    "h64",
    lambda uids, seed: (
      uids["f0"] * 0 if uids.dtype.names else np.zeros(len(uids), "u8")
    ),
  )
  _curate(tmp_path, source)
  assert done.exists()


def test_numbers_of_uids_do_not_depend_on_shards(tmp_path):
  """The numbers and the UID that is named are those of one shard."""
  columns = {"text": pa.array(["a b"] * 6)}
  rows = {"words": sizes.WordCount(1, 0, "split")}
  kept, _ = synth.kept(tmp_path, "a", columns, rows, [[0, 1, 2], [3, 4, 5]])
  assert kept == [0, 1, 2, 3, 4, 5]

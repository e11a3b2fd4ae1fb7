"""Curations whose folder lies in a bucket, also in one that fails."""

import json
import threading

import pyarrow as pa
import pytest

from curation import pool as pool_lib
from curation import recipe, runner
from curation.engine import engines
from curation.on_mesh import scorer
from curation.outputs import manifest
from curation.rules import cuts, model_scores
from runtime import failures
from runtime.storage import (
  bucket_path,
  leases,
  objects,
  segments,
  whole_files,
)
from tests import bucket_emulators as emulators
from tests.curation import scored, synth, tiny


@pytest.fixture(scope="module")
def emulator():
  with emulators.started("s3") as started:
    yield started


@pytest.fixture
def proxy(emulator):
  made = emulators.Proxy(emulator.port)
  with emulators.connected(emulators.variables("s3", made.port)):
    yield made
  made.close()


def _curate(pool, workdir, cache, steps=None):
  config = pool_lib.PoolConfig("parquet", "", (), (), "en", "", "")
  made = recipe.Recipe(config, str(cache), 2, steps or tiny.STEPS, 0.0)
  return runner.curate(made, pool, workdir, engines.Inline())


def _files(folder):
  """Return the names of a curation's files."""
  return set(whole_files.sizes(folder))


@pytest.mark.slow
def test_a_bucket_that_fails_and_vanishes(proxy, tmp_path, monkeypatch):
  pool = tiny.make_pool(tmp_path / "pool")
  disk, folder = tmp_path / "disk", bucket_path.make("s3://a-bucket/failing")
  expected = _curate(pool, disk, tmp_path)
  monkeypatch.setattr(objects, "WAITS", (0.2, 0.2))
  real, calls = objects.upload, []

  def upload(pairs):
    calls.append(1)
    if len(calls) in (2, 9):
      proxy.mode = "503"
      threading.Timer(0.5, setattr, (proxy, "mode", "pass")).start()
    real(pairs)

  monkeypatch.setattr(objects, "upload", upload)
  made = _curate(pool, folder, tmp_path)
  assert proxy.num_disturbed >= 2
  assert len(calls) > 9
  assert manifest.comparable(made) == manifest.comparable(expected)
  assert _files(folder) == _files(disk)

  # The bucket vanishes in the midst of a stage of another recipe.
  def vanish(pairs):
    proxy.close()
    real(pairs)

  monkeypatch.setattr(objects, "upload", vanish)
  monkeypatch.setattr(objects, "WAITS", ())
  monkeypatch.setattr(objects, "TRY_SECONDS", 0.5)
  steps = tiny.STEPS | {"wider": tiny.Wide(60, "wider")}
  with pytest.raises(failures.RunError) as error:
    _curate(pool, folder, tmp_path, steps)
  (line,) = str(error.value).splitlines()
  assert line.startswith(f"{folder}/stages/")


@pytest.mark.slow
def test_stages_of_a_bucket_are_used_again(proxy, tmp_path, capsys):
  pool = tiny.make_pool(tmp_path / "pool")
  folder = bucket_path.make("s3://a-bucket/again")
  first = _curate(pool, folder, tmp_path)
  proxy.num_read = 0
  again = _curate(pool, folder, tmp_path)
  assert manifest.comparable(again) == manifest.comparable(first)
  # Finished stages are not downloaded: manifest, notes on stages, facts.
  sizes = objects.sizes(str(folder))
  small = sum(v for k, v in sizes.items() if k.endswith((".json", ".txt")))
  assert proxy.num_read < 2.5 * small + 20_000
  steps = tiny.STEPS | {"wider": tiny.Wide(60, "wider")}
  changed = _curate(pool, folder, tmp_path, steps)
  assert "Stage 1 of 2 (wide): done before" in capsys.readouterr().err
  whole = _curate(pool, tmp_path / "disk", tmp_path, steps)
  assert manifest.comparable(changed) == manifest.comparable(whole)
  # One that lacks a stage's end, as where it was killed there.
  last = sorted(name for name in sizes if name.endswith("done.json"))[-1]
  objects.delete([str(folder / last), str(folder / "manifest.json")])
  assert _curate(pool, folder, tmp_path)["kept_sha256"] == first["kept_sha256"]


def test_failures_are_noted_in_the_bucket(proxy, tmp_path):
  del proxy
  pool = tiny.make_pool(tmp_path / "pool")
  folder = bucket_path.make("s3://a-bucket/faulty")
  (tmp_path / "pool" / "1.parquet").unlink()
  with pytest.raises(failures.RunError, match="failed 2 times") as error:
    _curate(pool, folder, tmp_path)
  assert f"{folder}/failures.jsonl lists all" in str(error.value)
  lines = segments.read(folder / "failures.jsonl").decode().splitlines()
  assert len({json.loads(line)["attempt"] for line in lines}) == 2
  assert not segments.has_parts(folder / "failures.jsonl")


def test_a_folder_in_use_is_refused(proxy, tmp_path):
  del proxy
  pool = tiny.make_pool(tmp_path / "pool")
  folder = bucket_path.make("s3://a-bucket/claimed")
  with (
    leases.claim(folder / ".lock", "the other"),
    pytest.raises(failures.RunError, match="is in use by another run") as error,
  ):
    _curate(pool, folder, tmp_path)
  assert str(error.value).startswith(f"--workdir={folder}")
  assert set(objects.sizes(str(folder))) == {".lock"}


@pytest.mark.slow
def test_embeddings_are_kept_in_the_bucket(proxy, tmp_path, monkeypatch):
  model = scored.write_model(tmp_path / "filter", monkeypatch)
  pool = synth.Pool(pa.table(scored.columns()), scored.SHARDS)
  folder = bucket_path.make("s3://a-bucket/embedded")
  steps = {
    "embed": model_scores.Embed(model, "dfn", 8),
    "best": cuts.TopFraction("dfn", 0.5, False),
  }
  made = _curate(pool, folder, tmp_path, steps)
  expected = _curate(pool, tmp_path / "disk", tmp_path, steps)
  assert manifest.comparable(made) == manifest.comparable(expected)
  assert _files(folder) == _files(tmp_path / "disk")
  # Other steps read them there: no pair is embedded again.
  monkeypatch.setattr(scorer.Scorer, "pairs", None)
  steps = {"any": tiny.Wide(-1, "wide")} | steps
  again = _curate(pool, folder, tmp_path, steps)
  assert again["kept_sha256"] == made["kept_sha256"]
  assert proxy.num_read > 0

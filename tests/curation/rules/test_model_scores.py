"""Pairs are embedded once, on any number of devices; the rest is a lookup."""

import dataclasses
import shutil

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import pool as pool_lib
from curation import recipe, runner
from curation.engine import engines
from curation.on_disk import embedding_store
from curation.on_mesh import scorer
from curation.rules import cuts, model_scores
from tests.curation import scored, synth
from tests.evaluators import meshes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    yield scored.write_model(tmp_path_factory.mktemp("filter"), patch)


@pytest.fixture(scope="module")
def pool():
  return synth.Pool(pa.table(scored.columns()), scored.SHARDS)


@pytest.fixture
def embedded(monkeypatch):
  """Return the numbers of the pairs that are embedded, by call."""
  calls = []
  pairs = scorer.Scorer.pairs

  def counted(self, table, *args):
    calls.append(pool_lib.uids(table)["f1"].tolist())
    return pairs(self, table, *args)

  monkeypatch.setattr(scorer.Scorer, "pairs", counted)
  return calls


def curate(pool, workdir, **steps):
  config = pool_lib.PoolConfig("parquet", "", (), (), "en", "", "")
  made = recipe.Recipe(config, str(workdir / "cache"), 1, steps)
  return runner.curate(made, pool, workdir, engines.Inline())


def signals(workdir, name):
  """Return {number of a pair: its value} of a signal."""
  found = {}
  for path in sorted(workdir.glob("stages/*/shards/*.parquet")):
    if name in pq.read_schema(path).names:
      table = pq.read_table(path, columns=["uid", name])
      for uid, value in zip(*table.to_pydict().values(), strict=True):
        found[int.from_bytes(uid[8:])] = value
  return found


def test_scores_and_faults(run, pool, tmp_path):
  step = model_scores.Embed(run, "dfn", 8)
  manifest = curate(pool, tmp_path, embed=step)
  bad = {
    scored.BROKEN: "image_broken",
    scored.EMPTY: "image_missing",
  }
  assert manifest["num_kept"] == scored.NUM_PAIRS - len(bad)
  faults = signals(tmp_path, "dfn_fault")
  assert {k: v for k, v in faults.items() if v} == bad
  found = signals(tmp_path, "dfn")
  # Scores of the model itself, pair by pair.
  model = scorer.load(run).model
  tokenizer = model.make_tokenizer()
  embedder = scorer.load(run)._embedder(8)
  columns = scored.columns()
  good = [n for n in range(scored.NUM_PAIRS) if n not in bad]
  read = scorer.load(run)._read
  zimg = embedder.images(
    model.params,
    np.stack([read(columns["image"][number].as_py()) for number in good]),
  )
  ztxt = embedder.texts(
    model.params, tokenizer([columns["text"][n].as_py() for n in good])
  )
  # Both are rounded to float16, of which the step at 1 is 2^-11.
  np.testing.assert_allclose(
    [found[number] for number in good], (zimg * ztxt).sum(1), atol=2e-3
  )
  assert all(found[number] is None for number in bad)
  assert manifest["steps"][0]["faults"] == {
    "image_broken": 1,
    "image_missing": 1,
  }


def test_a_model_that_gives_nan(run, pool, tmp_path, monkeypatch):
  """One image and one caption; the others are embedded as ever."""
  step = model_scores.Embed(run, "dfn", 8)
  curate(pool, tmp_path / "right", embed=step)
  images, texts = scorer.Scorer.images, scorer.Scorer.texts

  def broken_images(self, *args):
    zimg, faults = images(self, *args)
    zimg[0] = np.nan
    return zimg, faults

  def broken_texts(self, captions, batch_size):
    ztxt = texts(self, captions, batch_size)
    ztxt[[text == "picture 20" for text in captions]] = np.nan
    return ztxt

  monkeypatch.setattr(scorer.Scorer, "images", broken_images)
  monkeypatch.setattr(scorer.Scorer, "texts", broken_texts)
  manifest = curate(pool, tmp_path / "nan", embed=step)
  found, right = (signals(tmp_path / name, "dfn") for name in ("nan", "right"))
  bad = (0, 12, 20)  # the first image of each shard, and a caption
  assert {n for n in right if found[n] != right[n]} == set(bad)
  assert all(found[number] is None for number in bad)
  assert manifest["steps"][0]["faults"]["embedding_broken"] == 3
  assert manifest["num_kept"] == scored.NUM_PAIRS - 2 - 3


def test_a_row_that_is_not_finite_goes_through_the_devices(run):
  model = scorer.load(run)
  embedder = dataclasses.replace(
    model._embedder(8),
    texts_fn=lambda _, rows: jax.numpy.full((len(rows), 16), np.nan),
  )
  broken = dataclasses.replace(model, embedders={8: embedder})
  assert np.isnan(broken.texts(["a", "b"], 8)).any()
  with pytest.raises(ValueError, match="embeddings are not finite"):
    embedder.texts(model.model.params, model.tokenizer(["a"]))


def test_nothing_is_embedded_twice(run, pool, tmp_path, embedded):
  step = model_scores.Embed(run, "dfn", 8)
  some = cuts.Threshold("width", 6.0)
  curate(pool, tmp_path, some=some, embed=step)
  assert sorted(map(len, embedded)) == [6, 11]
  first = signals(tmp_path, "dfn")
  embedded.clear()
  cut = cuts.Threshold("dfn", 0.0)
  curate(pool, tmp_path, some=some, embed=step, cut=cut)
  # Other steps before: only what they had dropped is new.
  everything = tmp_path / "other"
  everything.mkdir()
  (tmp_path / "embeddings").rename(everything / "embeddings")
  curate(pool, everything, embed=step, cut=cut)
  assert embedded == [[0, 1, 2, 3, 4, 5]]
  again = signals(everything, "dfn")
  assert set(again) == set(range(scored.NUM_PAIRS))
  for number, value in first.items():
    np.testing.assert_array_equal(again[number], value)


def test_another_fraction_does_not_look_at_embeddings(
  run, pool, tmp_path, monkeypatch
):
  step = model_scores.Embed(run, "dfn", 8)
  for fraction, num_kept in ((0.5, 11), (0.2, 5)):
    top = cuts.TopFraction("dfn", fraction, False)
    manifest = curate(pool, tmp_path, embed=step, top=top)
    # int(21 * fraction) + 1
    assert manifest["num_kept"] == num_kept
    monkeypatch.setattr(embedding_store.Store, "open", None)


def test_captions_of_one_image_share_it(run):
  columns = scored.columns()
  rows = np.array([0, 1, 2]) + (np.array([5, 5, 6]) << pool_lib.CAPTION_BITS)
  uid = synth.Pool(pa.table(columns), [[0]])
  (table,) = uid.read(uid.shards[0], (), max_rows=9)
  pairs = pa.table(
    {
      "uid": pa.concat_arrays([table["uid"].combine_chunks()] * 3),
      "row": pa.array(rows),
      "text": pa.array(["a", "b", "c"]),
    }
  )
  found, image = model_scores._distinct(pairs)
  assert found.tolist() == [rows[0], rows[2]]
  assert image.tolist() == [0, 0, 1]
  images = [columns["image"][n].as_py() for n in (scored.BROKEN, 1)]
  records = scorer.load(run).pairs(pairs, images, image, 8)
  assert records["fault"].tolist() == [b"image_broken"] * 2 + [b""]
  records = scorer.load(run).pairs(pairs, images[::-1], image, 8)
  assert records["fault"].tolist() == [b""] * 2 + [b"image_broken"]
  np.testing.assert_array_equal(records["zimg"][0], records["zimg"][1])
  assert (records["ztxt"][0] != records["ztxt"][1]).any()


def test_a_stop_loses_one_shard(run, pool, tmp_path, embedded, monkeypatch):
  step = model_scores.Embed(run, "dfn", 8)
  whole = curate(pool, tmp_path / "whole", embed=step)
  embedded.clear()
  add = embedding_store.Store.add

  def failing(self, shard, records):
    if records["row"].size == 11:
      raise KeyboardInterrupt
    add(self, shard, records)

  monkeypatch.setattr(embedding_store.Store, "add", failing)
  with pytest.raises(KeyboardInterrupt):
    curate(pool, tmp_path / "w", embed=step)
  monkeypatch.setattr(embedding_store.Store, "add", add)
  again = curate(pool, tmp_path / "w", embed=step)
  assert again["kept_sha256"] == whole["kept_sha256"]
  np.testing.assert_equal(
    signals(tmp_path / "w", "dfn"), signals(tmp_path / "whole", "dfn")
  )
  assert sorted(map(len, embedded)) == [11, 11, 12]


def test_a_shard_that_changed_is_embedded_again(tmp_path):
  store = embedding_store.Store(tmp_path)
  table = pa.table(
    {
      "uid": pa.array([bytes([n]) * 16 for n in range(3)], pa.binary(16)),
      "row": pa.array([0, 1, 2]),
    }
  )
  shard = pool_lib.Shard("a", "a.tar", 0, 3, "first")
  records = np.zeros(3, embedding_store.dtype(4))
  records["uid"], records["row"] = pool_lib.uids(table), [0, 1, 2]
  records["zimg"] = records["ztxt"] = np.float16(0.5)
  store.add(shard, records[:2])
  assert store.open(shard).missing(table).tolist() == [False, False, True]
  store.add(shard, records[2:])
  assert store.open(shard).read(table)["row"].tolist() == [0, 1, 2]
  changed = dataclasses.replace(shard, version="second")
  assert store.open(changed).missing(table).all()
  with pytest.raises(
    embedding_store.MissingError, match="3 of 3 pairs of a.tar"
  ):
    store.open(changed).read(table)
  store.add(changed, records[:1])
  assert len(store.named("a")) == 1


def test_one_device_or_eight(run, pool):
  images = [n for n in range(scored.NUM_PAIRS) if n != scored.EMPTY]
  columns = scored.columns()
  whole = scorer.load(run)
  assert whole.model.mesh.size == 8
  mesh = meshes.make_mesh()
  params = jax.device_put(
    jax.device_get(whole.model.params), jax.NamedSharding(mesh, jax.P())
  )
  model = dataclasses.replace(whole.model, mesh=mesh, params=params)
  one = dataclasses.replace(whole, model=model, embedders={})
  data = [columns["image"][number].as_py() for number in images]
  (zimg_8, fault_8), (zimg_1, fault_1) = (
    made.images(data, 8) for made in (whole, one)
  )
  np.testing.assert_array_equal(fault_8, fault_1)
  # Products of other shapes may be summed in another order, and that may round
  # to the next float16: below 1 these are 2^-11 apart or less.
  np.testing.assert_allclose(zimg_8, zimg_1, atol=2**-11)
  assert len(zimg_1) == len(images) - 1


def test_cosines_do_not_depend_on_layout():
  rng = np.random.default_rng(0)
  x, y = (embedding_store.unit(rng.normal(size=(50, 512))) for _ in range(2))
  found = embedding_store.cosine(x, y)
  np.testing.assert_array_equal(
    found, embedding_store.cosine(x[:, ::-1], y[:, ::-1])
  )
  one_by_one = [
    embedding_store.cosine(x[n : n + 1], y[n : n + 1])[0] for n in range(50)
  ]
  np.testing.assert_array_equal(found, one_by_one)
  # The exact sum of products, rounded once; lengths are 1 within 2^-11.
  exact = (x.astype(np.float64) * y.astype(np.float64)).sum(1)
  np.testing.assert_allclose(found, exact, atol=1e-3)


def test_embeddings_of_the_pool(tmp_path):
  rng = np.random.default_rng(0)
  image, text = rng.normal(size=(2, 9, 8))
  columns = {
    "b32_img": synth.embeddings(image)["x_img"],
    "b32_txt": synth.embeddings(text)["x_txt"],
  }
  pool = synth.Pool(pa.table(columns), ([0, 1, 2, 3], [4], [5, 6, 7, 8]))
  curate(
    pool,
    tmp_path,
    b32=model_scores.StoredEmbeddings("b32", "cosine"),
    cut=cuts.Threshold("cosine", -1.0),
  )
  found = signals(tmp_path, "cosine")
  norms = np.linalg.norm(image, axis=1) * np.linalg.norm(text, axis=1)
  expected = (image * text).sum(1) / norms
  # Rounded to float16 twice.
  np.testing.assert_allclose([found[n] for n in range(9)], expected, atol=4e-3)
  with pytest.raises(ValueError, match="stored_embeddings takes what"):
    model_scores.Embed("columns:b32", "s", 8).check("steps.embed")


def test_a_model_that_is_not_there_is_named():
  with pytest.raises(ValueError, match=r"steps\.embed\.model: there is no 'r"):
    model_scores.Embed("runs/none", "s", 8).check("steps.embed")


def test_the_key_is_that_of_the_content(run, tmp_path):
  found = scorer.load(run)
  shutil.copytree(run, tmp_path / "copy")
  scorer.load.cache_clear()
  copy = scorer.load(str(tmp_path / "copy"))
  assert copy.key == found.key
  assert copy.facts["model"] != found.facts["model"]
  changed = dict(found.model.params, bias=np.float32(0.5))
  assert scorer._digest(changed) != found.facts["params"]

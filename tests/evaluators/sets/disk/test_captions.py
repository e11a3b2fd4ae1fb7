"""Retrieval sets in the forms of their origins."""

import gzip
import io
import json

import pyarrow
import pytest
from pyarrow import parquet

from evaluators import suite_data
from evaluators.sets import kinds, resolve
from evaluators.sets.disk import captions
from input_pipeline import sources as formats
from input_pipeline.sources import source_config
from runtime import sections
from tests.evaluators.sets import made


def _examples(source, folder):
  """Return {key: (image, texts)} as the source's format reads it."""
  section = source_config.SourceConfig(**source)
  context = source_config.SourceContext("x", folder / "cache", 8)
  records = formats.FORMATS[section.format].open_split(section, "", context)
  return {
    record.key: (record.image, dict(record.texts))
    for record in (records[i] for i in range(len(records)))
  }


def _dump(path, value):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(value), "utf-8")
  return str(path)


def _coco(folder):
  made.images(folder / "val2014", "COCO_1.jpg", "COCO_2.jpg")
  return _dump(
    folder / "coco_test_karpathy.json",
    {
      "images": [
        {"id": 7, "file_name": "COCO_1.jpg"},
        {"id": 9, "file_name": "COCO_2.jpg"},
      ],
      "annotations": [
        {"image_id": 9, "id": 1, "caption": "a dog"},
        {"image_id": 7, "id": 2, "caption": "a cat"},
        {"image_id": 9, "id": 3, "caption": "it is asleep "},
      ],
    },
  )


def test_coco(tmp_path):
  path = _coco(tmp_path / "coco")
  source = captions.coco(path, cache_dir=str(tmp_path / "cache"))
  assert _examples(source, tmp_path) == {
    "COCO_1.jpg": (made.image(0, "JPEG"), {"en": ("a cat",)}),
    "COCO_2.jpg": (made.image(1, "JPEG"), {"en": ("a dog", "it is asleep ")}),
  }
  # The same table, and nothing copied beside it.
  assert captions.coco(path, cache_dir=str(tmp_path / "cache")) == source
  assert len(list((tmp_path / "cache/sets").iterdir())) == 1
  section = {"x": kinds.retrieval(source)}
  values = {"every_steps": 0, "batch_size": 1, "sets": section}
  sections.make(suite_data.EvaluateConfig, values, see="").check()


@pytest.mark.parametrize(
  ("value", "message"),
  [
    ("[", r"x\.json: not JSON: .*, line 1, column 2"),
    ({"images": []}, "x.json: expected 'annotations', of type list; got"),
    ({"images": [], "annotations": []}, "x.json has no images"),
    (
      {"images": [{}], "annotations": []},
      "x.json, image 0: expected 'file_name', of type str; got 'None'",
    ),
    (
      {"images": [], "annotations": [{"image_id": "7", "caption": "a"}]},
      "annotation 0: expected 'image_id', of type int; got '7'",
    ),
    (
      {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []},
      "x.json names the image a.jpg, which is in none of the folders",
    ),
  ],
)
def test_broken_coco(tmp_path, value, message):
  path = tmp_path / "x.json"
  path.write_text(value if isinstance(value, str) else json.dumps(value))
  with pytest.raises(ValueError, match=message):
    captions.coco(str(path), cache_dir=str(tmp_path / "cache"))


def test_an_image_without_a_caption_is_a_fault_of_its_row(tmp_path):
  made.images(tmp_path, "a.jpg", "b.jpg")
  path = _dump(
    tmp_path / "x.json",
    {
      "images": [{"id": i, "file_name": f"{'ab'[i]}.jpg"} for i in (0, 1)],
      "annotations": [{"image_id": 0, "caption": "a cat"}],
    },
  )
  source = captions.coco(path, cache_dir=str(tmp_path / "cache"))
  with pytest.raises(Exception, match=r"line 2 of .* has no text in column"):
    _examples(source, tmp_path)


def test_captions_of_no_image_are_counted(tmp_path, caplog):
  made.images(tmp_path, "a.jpg")
  captions_of = [{"image_id": i, "caption": "x"} for i in (5, 3, 8)]
  value = {
    "images": [{"id": 5, "file_name": "a.jpg"}],
    "annotations": captions_of,
  }
  path = _dump(tmp_path / "x.json", value)
  captions.coco(path, cache_dir=str(tmp_path / "cache"))
  assert "captions of 2 images are left out" in caplog.text
  assert "as 3" in caplog.text


def _karpathy(*splits, filepath=""):
  return {
    "dataset": "coco",
    "images": [
      {
        "filename": f"{i}.jpg",
        **({"filepath": filepath} if filepath else {}),
        "split": split,
        "imgid": i,
        "sentences": [
          {"raw": f"picture {i}", "tokens": ["picture"], "sentid": i},
          {"raw": f"it is {i}", "tokens": ["it"], "sentid": 9 + i},
        ],
      }
      for i, split in enumerate(splits)
    ],
  }


def test_karpathy(tmp_path):
  value = _karpathy("train", "test", "restval", "test", filepath="val2014")
  path = _dump(tmp_path / "coco" / "dataset_coco.json", value)
  made.images(tmp_path / "coco/val2014", *(f"{i}.jpg" for i in range(4)))
  cache = str(tmp_path / "cache")
  found = _examples(captions.karpathy(path, cache_dir=cache), tmp_path)
  assert found == {
    f"val2014/{i}.jpg": (
      made.image(i, "JPEG"),
      {"en": (f"picture {i}", f"it is {i}")},
    )
    for i in (1, 3)
  }
  source = captions.karpathy(path, cache_dir=cache, split="restval")
  assert list(_examples(source, tmp_path)) == ["val2014/2.jpg"]
  with pytest.raises(ValueError, match="has no image of the split 'val'; it"):
    captions.karpathy(path, cache_dir=cache, split="val")


def test_flickr30k_of_karpathy(tmp_path):
  path = _dump(tmp_path / "dataset_flickr30k.json", _karpathy("test", "val"))
  made.images(tmp_path / "flickr30k-images", "0.jpg")
  source = captions.karpathy(path, cache_dir=str(tmp_path / "cache"))
  assert source["image_root"] == str(tmp_path / "flickr30k-images")
  assert list(_examples(source, tmp_path)) == ["0.jpg"]


def test_flickrs_lines(tmp_path):
  path = tmp_path / "flickr30k_test_karpathy.txt"
  made.images(tmp_path / "Images", "1.jpg", "2.jpg")
  lines = ["image,caption", "1.jpg,A man, asleep .", "2.jpg,x", "1.jpg, y"]
  path.write_text("\n".join(lines) + "\n", "utf-8")
  source = captions.flickr(str(path), cache_dir=str(tmp_path / "cache"))
  texts = {key: x["en"] for key, (_, x) in _examples(source, tmp_path).items()}
  assert texts == {"1.jpg": ("A man, asleep .", "y"), "2.jpg": ("x",)}
  path.write_text("image,caption\n1.jpg,a\n2.png,b\n")
  with pytest.raises(ValueError, match=r"karpathy.txt, line 3: expected NAME"):
    captions.flickr(str(path), cache_dir=str(tmp_path / "cache"))


def _multi30k(root):
  task = root / "data" / "task1"
  (task / "raw").mkdir(parents=True)
  (task / "image_splits").mkdir()
  (task / "image_splits/test_2016_flickr.txt").write_text("8.jpg\n3.jpg\n")
  (task / "raw/test_2016_flickr.en").write_text("A cat.\nA dog.\n")
  with gzip.open(task / "raw/test_2016_flickr.de.gz", "wb") as file:
    file.write("Ein Kätzchen.\nEin Hund.\n".encode())
  return task


def test_multi30k(tmp_path):
  root = tmp_path / "multi30k"
  task = _multi30k(root)
  made.images(root / "images", "8.jpg", "3.jpg")
  cache = str(tmp_path / "cache")
  source = captions.multi30k(str(root), cache_dir=cache)
  assert _examples(source, tmp_path) == {
    "8.jpg": (
      made.image(0, "JPEG"),
      {"en": ("A cat.",), "de": ("Ein Kätzchen.",)},
    ),
    "3.jpg": (made.image(1, "JPEG"), {"en": ("A dog.",), "de": ("Ein Hund.",)}),
  }
  (task / "raw/test_2016_flickr.fr").write_text("Un chat.\n")
  with pytest.raises(ValueError, match=r"\.fr has 1 lines; .* names 2 images"):
    captions.multi30k(str(root), cache_dir=cache)


def _xm3600(root, languages):
  rows = [
    {
      "image/key": f"{i:016x}",
      "image/locale": "quz",
      **{
        language: {
          "caption": [f"{language} {i}", f"{language} {i} b"],
          "caption/tokenized": ["no"],
          "caption/tokenized/lowercase": ["no"],
        }
        for language in languages
      },
    }
    for i in range(2)
  ]
  root.mkdir(parents=True, exist_ok=True)
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (root / "captions.jsonl").write_text(text)
  made.images(root / "images", *(f"{i:016x}.jpg" for i in range(2)))


def test_xm3600(tmp_path):
  assert len(set(captions.XM3600)) == 36
  root = tmp_path / "xm3600"
  _xm3600(root, captions.XM3600)
  source = captions.xm3600(str(root), cache_dir=str(tmp_path / "cache"))
  found = _examples(source, tmp_path)
  image, texts = found[f"{1:016x}"]
  assert image == made.image(1, "JPEG")
  assert set(texts) == set(captions.XM3600)
  assert texts["quz"] == ("quz 1", "quz 1 b")
  (root / "captions.jsonl").write_text('{"image/key": "a"}\n{"x": \n')
  with pytest.raises(ValueError, match=r"captions.jsonl, line 2: not JSON"):
    captions.xm3600(str(root), cache_dir=str(tmp_path / "cache"))


def _parquet(root):
  root.mkdir(parents=True)
  images = [{"bytes": made.image(i), "path": f"{i}.png"} for i in range(2)]
  table = pyarrow.table(
    {"image": images, "caption": [["a", "b"], ["c"]], "sentids": [[1], [2]]}
  )
  file = io.BytesIO()
  parquet.write_table(table, file)
  (root / "test-00000-of-00001.parquet").write_bytes(file.getvalue())


@pytest.mark.parametrize(
  ("name", "key", "make", "number"),
  [
    ("mscoco_captions", "mscoco_captions", _coco, 2),
    ("multi30k", "multi30k", _multi30k, 2),
    ("xm3600", "crossmodal3600", lambda x: _xm3600(x, ("en",)), 2),
    (
      "flickr_1k_test_image_text_retrieval",
      "retrieval/flickr_1k_test_image_text_retrieval",
      _parquet,
      2,
    ),
  ],
)
def test_sets_by_name(tmp_path, name, key, make, number):
  root = tmp_path / "sets" / name
  make(root)
  made.images(root / "images", "8.jpg", "3.jpg")
  opened = resolve.resolve(
    "", [name], str(tmp_path / "sets"), cache_dir=str(tmp_path / "cache")
  )[key]
  assert (opened.kind, opened.texts) == ("retrieval", ())
  assert len(_examples(opened.source, tmp_path)) == number

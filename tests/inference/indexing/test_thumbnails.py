"""Thumbnails: small, whole or refused, each read alone."""

import io

import numpy as np
import pytest
from PIL import Image

from inference import pictures
from inference.indexing import thumbnails
from input_pipeline import faults


def _photo(width, height, seed=0):
  small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
  return Image.fromarray(small).resize((width, height))


def _encoded(image, kind="JPEG"):
  file = io.BytesIO()
  image.save(file, kind, quality=95)
  return file.getvalue()


def _decoded(data):
  with Image.open(io.BytesIO(data)) as image:
    assert image.format == "WEBP"
    return image.convert("RGB")


@pytest.mark.parametrize(
  ("size", "expected"),
  [((640, 320), (128, 64)), ((100, 90), (100, 90)), ((3000, 2), (128, 1))],
)
def test_the_longest_side(size, expected):
  image = _photo(*size)
  small = _decoded(thumbnails.encoded(_encoded(image)))
  assert small.size == expected
  assert thumbnails.of_pixels(np.asarray(image))
  wanted = image.resize(expected)
  assert np.abs(np.subtract(small, wanted, dtype=float)).mean() < 6


def test_no_picture():
  with pytest.raises(faults.ExampleError):
    thumbnails.encoded(b"GIF89a")


def test_a_shard(tmp_path):
  files = [tmp_path / name for name in ("a.jpg", "b.txt", "c.png")]
  files[0].write_bytes(_encoded(_photo(300, 200)))
  files[1].write_text("no picture")
  files[2].write_bytes(_encoded(_photo(20, 30, 1), "PNG"))
  found = pictures.find(str(tmp_path / "*.*"))
  assert len(found) == 3
  made = [*thumbnails.of_pictures(found, range(3), side=50)]
  made.append(b"")
  num_bytes = thumbnails.write(tmp_path, 3, made)
  data, starts = thumbnails.paths(tmp_path, 3)
  assert data.stat().st_size == num_bytes == sum(map(len, made))
  opened = thumbnails.Thumbnails.read(tmp_path, 3, 4, num_bytes)
  assert [opened.of(row) for row in range(4)] == [
    *(made[0], None, made[2], None)
  ]
  assert _decoded(made[0]).size == (50, 33)
  with pytest.raises(ValueError, match=r"thumbnails_3\.npy is \(\(5,\)"):
    thumbnails.Thumbnails.read(tmp_path, 3, 5, num_bytes)
  data.write_bytes(data.read_bytes()[:-1])
  with pytest.raises(ValueError, match=r"\.bin has .* bytes, not"):
    thumbnails.Thumbnails.read(tmp_path, 3, 4, num_bytes)
  starts.unlink()
  with pytest.raises(ValueError, match="No such file"):
    thumbnails.Thumbnails.read(tmp_path, 3, 4, num_bytes - 1)


def test_a_shard_without_any(tmp_path):
  assert thumbnails.write(tmp_path, 0, [b"", b""]) == 0
  opened = thumbnails.Thumbnails.read(tmp_path, 0, 2, 0)
  assert opened.of(0) is opened.of(1) is None

import bz2
import gzip
import io
import lzma
import pickle
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from input_pipeline.storage import file_kinds
from tests.input_pipeline.sources import tars


def _image(form: str) -> bytes:
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8), "red").save(buffer, form)
  return buffer.getvalue()


def _zip() -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as file:
    file.writestr("a.jpg", b"x")
  return buffer.getvalue()


def _parquet() -> bytes:
  buffer = io.BytesIO()
  parquet.write_table(pa.table({"a": [1]}), buffer)
  return buffer.getvalue()


def _npy() -> bytes:
  buffer = io.BytesIO()
  np.save(buffer, np.zeros(3))
  return buffer.getvalue()


_LFS = (
  b"version https://git-lfs.github.com/spec/v1\n"
  b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
  b"\nsize 12345\n"
)


@pytest.mark.parametrize(
  ("data", "kind"),
  [
    (b"", "an empty file"),
    (bytes(10240), "nothing but zeros"),
    (_LFS, "a Git LFS pointer"),
    (gzip.compress(b"x", mtime=0), "gzip data"),
    (bz2.compress(b"x"), "bzip2 data"),
    (lzma.compress(b"x"), "xz data"),
    (b"\x28\xb5\x2f\xfd\x24", "zstd data"),
    (_zip(), "a zip file"),
    (_parquet(), "a Parquet file"),
    (_npy(), "a NumPy array"),
    (pickle.dumps({"a": 1}), "a pickle"),
    (tars.data({"a.txt": b"x"}), "a tar"),
    (b'\x10\0\0\0\0\0\0\0{"a":{"dtype":', "a safetensors file"),
    (_image("JPEG"), "a JPEG image"),
    (_image("PNG"), "a PNG image"),
    (_image("GIF"), "a GIF image"),
    (_image("TIFF"), "a TIFF image"),
    (_image("BMP"), "a BMP image"),
    (_image("WEBP"), "a WebP image"),
    (b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf", "an AVIF image"),
    (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "an AVIF image"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1", "a HEIF image"),
    (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "an MP4 video"),
    (b"%PDF-1.7\n", "a PDF document"),
    (b"\n <!DOCTYPE html>\n<html>", "an HTML page"),
    (b"\xef\xbb\xbf<HTML lang=en>", "an HTML page"),
    (b"<!-- saved --><html>", "an HTML page"),
    (b'<?xml version="1.0"?><svg xmlns="">', "an SVG image"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied', "an XML document"),
  ],
)
def test_kinds_are_told_apart(data, kind):
  assert file_kinds.describe(data[: file_kinds.NUM_BYTES]).startswith(kind)


@pytest.mark.parametrize(
  "data",
  [b"a", b"caption,image\nred,1.jpg\n", b'{"caption": "x"}', b"\x80", b"BM"],
)
def test_other_files_are_unknown(data):
  assert not file_kinds.describe(data)

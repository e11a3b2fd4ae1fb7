"""Broken ArrayRecord, Parquet, JSON lines and CSV for tests/long/fuzz_data.py.

Each writer makes a good file of fuzz_pairs; `corrupt` then changes its bytes
or, in text files, its lines. Parquet has no checksum of its own: it is written
plain, so that no flipped bit can refer to another row's value.
"""

import csv
import io
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from input_pipeline.sources import array_record
from input_pipeline.sources import record as record_lib
from tests.long import fuzz_images, fuzz_pairs

_NUMBERS = range(fuzz_pairs.NUM_PAIRS)


def array_records(folder: pathlib.Path) -> pathlib.Path:
  """Write an ArrayRecord file."""
  path = folder / "pairs.array_record"
  array_record.write(
    path,
    (
      record_lib.Record(
        fuzz_pairs.key(n),
        fuzz_pairs.image(n),
        {"en": (fuzz_pairs.caption(n),)},
      )
      for n in _NUMBERS
    ),
  )
  return path


def parquet(folder: pathlib.Path) -> pathlib.Path:
  """Write a Parquet file of several row groups."""
  path = folder / "pairs.parquet"
  table = pa.table(
    {
      "image": [{"bytes": fuzz_pairs.image(n), "path": ""} for n in _NUMBERS],
      "caption": [fuzz_pairs.caption(n) for n in _NUMBERS],
    }
  )
  pq.write_table(
    table, path, row_group_size=4, use_dictionary=False, compression="none"
  )
  return path


def json_lines(folder: pathlib.Path) -> pathlib.Path:
  """Write images and a file that names them, one object a line."""
  path = folder / "captions.jsonl"
  rows = _rows(folder)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def comma_separated(folder: pathlib.Path) -> pathlib.Path:
  """Write images and a CSV file that names them."""
  path = folder / "captions.csv"
  text = io.StringIO()
  writer = csv.DictWriter(text, ("file_name", "caption"))
  writer.writeheader()
  writer.writerows(_rows(folder))
  path.write_text(text.getvalue())
  return path


def _rows(folder: pathlib.Path) -> list[dict[str, str]]:
  rows = []
  for n in _NUMBERS:
    name = f"{fuzz_pairs.key(n)}.png"
    (folder / name).write_bytes(fuzz_pairs.image(n))
    rows.append({"file_name": name, "caption": fuzz_pairs.caption(n)})
  return rows


# Format -> function that writes a good file of it.
WRITERS: Mapping[str, Callable[[pathlib.Path], pathlib.Path]] = {
  "array_record": array_records,
  "parquet": parquet,
  "jsonl": json_lines,
  "csv": comma_separated,
}


def corrupt(path: pathlib.Path, rng: np.random.Generator) -> None:
  """Corrupt a file in place."""
  is_text = path.suffix in (".jsonl", ".csv")
  for _ in range(int(rng.integers(1, 3))):
    accidents = _LINES if is_text and rng.random() < 0.6 else _BYTES
    accident = accidents[int(rng.integers(len(accidents)))]
    path.write_bytes(accident(path.read_bytes(), rng))


def _hostile_line(data: bytes, rng: np.random.Generator) -> bytes:
  lines = data.split(b"\n")
  strange = _STRANGE[int(rng.integers(len(_STRANGE)))]
  lines.insert(int(rng.integers(len(lines))), strange)
  return b"\n".join(lines)


def _reorder_lines(data: bytes, rng: np.random.Generator) -> bytes:
  lines = data.split(b"\n")
  return b"\n".join(lines[i] for i in rng.permutation(len(lines)))


def _replace(data: bytes, rng: np.random.Generator) -> bytes:
  del data
  hostile = fuzz_images.hostile()
  names = ("nothing", "html", "pickle", "zip", "zeros", "a caption")
  return hostile[names[int(rng.integers(len(names)))]]


_BYTES: Sequence[Callable[[bytes, np.random.Generator], bytes]] = (
  *(
    fuzz_images.flip_bits,
    fuzz_images.flip_bits,
    fuzz_images.flip_bits,
    fuzz_images.truncate,
    _replace,
  ),
)
_LINES: Sequence[Callable[[bytes, np.random.Generator], bytes]] = (
  *(_hostile_line, _hostile_line, _reorder_lines),
)
_STRANGE = (
  b'{"file_name": "../../../../etc/passwd", "caption": "pair"}',
  b'{"file_name": "/etc/passwd", "caption": "pair"}',
  b'{"file_name": "file:///etc/passwd", "caption": "pair"}',
  b'{"file_name": "000000.png", "caption": 7}',
  b'{"file_name": ["000000.png"], "caption": null}',
  b'{"file_name": "000000.png", "caption": {"a": "b"}}',
  b'{"file_name": "gone.png", "caption": "pair"}',
  b'{"file_name": "weights.pkl", "caption": "pair"}',
  b'{"file_name": "a\\u0000b.png", "caption": "\\ud800"}',
  b'{"file_name": "", "caption": ""}',
  b"[" * 100_000,
  b'{"a":' * 50_000,
  b"9" * 5000,
  b"null",
  b'"text"',
  b"[1, 2]",
  b"{",
  b"",
  b"\xff\xfe\x00\xd8",
  b'"' + b"x" * 300_000,
  b"../../etc/passwd,pair",
  b"/etc/passwd,pair",
  b"000000.png",
  b"000000.png,pair,three,columns",
  b"gone.png,pair",
  b"a\x00b.png,\x00",
  b"," * 10_000,
)

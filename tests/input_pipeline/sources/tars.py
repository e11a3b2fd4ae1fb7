"""Tiny tars for the tests."""

import io
import pathlib
import tarfile
from collections.abc import Mapping, Sequence

from configs.parts import sources as source_configs
from input_pipeline.sources import record, source_config, webdataset

# Name -> content, in the order they are written.
Members = Mapping[str, bytes] | Sequence[tuple[str, bytes]]


def write(
  path: pathlib.Path, members: Members, format: int = tarfile.USTAR_FORMAT
) -> pathlib.Path:
  """Write a tar, in a new file if there is one."""
  path.unlink(missing_ok=True)
  path.write_bytes(data(members, format))
  return path


def data(members: Members, format: int = tarfile.USTAR_FORMAT) -> bytes:
  """Return the bytes of a tar."""
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w", format=format) as tar:
    for name, content in (
      dict(members).items() if isinstance(members, Mapping) else members
    ):
      info = tarfile.TarInfo(name)
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))
  return file.getvalue()


def examples(start: int, stop: int) -> dict[str, bytes]:
  """Return members of examples whose image and caption name their key."""
  members = {}
  for i in range(start, stop):
    members[f"{i:04d}.jpg"] = b"image %04d" % i * (i % 7 + 1)
    members[f"{i:04d}.txt"] = b"caption %04d" % i
    members[f"{i:04d}.json"] = b'{"uid": "%032x", "language": "de"}' % i
  return members


def opened(
  path: pathlib.Path | str, cache: pathlib.Path, **fields
) -> webdataset.Records:
  """Return the examples of tars."""
  values = source_configs.source(path=str(path), **fields).to_dict()
  source = source_config.SourceConfig(**values)
  return webdataset.open_split(
    source, "", source_config.SourceContext("main", cache, 8)
  )


def one(folder: pathlib.Path, members: Members, **fields) -> record.Record:
  """Return the only example of a tar with these members."""
  path = write(folder / "x.tar", members)
  records = opened(path, folder / "cache", **fields)
  assert len(records) == 1
  return records[0]

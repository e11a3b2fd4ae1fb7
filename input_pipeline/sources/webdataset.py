"""Tars of WebDataset's form, read in any order through an index.

An example consists of consecutive members with one key: the path up to the
first dot of the file name (KEY.jpg, KEY.txt, KEY.json, in any order). Members
of one key that are not consecutive are several examples, as in webdataset
itself; each then lacks the members of the other. Hidden files, folders, links
and files without an extension belong to no example.

  image     the first of `source.image` that is present (jpg, jpeg, png, webp)
  captions  each of `source.caption` that is present: an extension ("txt"), or
            "json.FIELD" of KEY.json: a string, a list of strings, or MetaCLIP's
            list of [key, string]. By default the first of txt, json.caption and
            json.texts that has a caption. Or one file with the captions of all
            examples of a tar, such as "../../json/{folder}/{tar}.json"; see
            caption_files.py.
  language  "json.FIELD" in `source.language_field` if the example has one, else
            `source.language`

Text is UTF-8, stripped of white space. The UID is that of the key, or of
`source.uid`, "json.FIELD": only then does the index read the JSON files. With
"file+key" and "file+json.FIELD" it depends on the tar's path too, below the
folder of all tars: where several number their examples from 0. No member is written to disk, and an example with a member that torch or webdataset
would unpickle is refused.
"""

import bisect
import functools
import json
import operator
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from input_pipeline import faults
from input_pipeline.sources import (
  caption_files,
  columns,
  record,
  source_config,
  webdataset_layout,
)
from input_pipeline.storage import files, tar_headers, tar_index, tar_scan

LANGUAGES = None

# Extensions that torch.load, pickle.load and webdataset's decoders unpickle.
_PICKLES = frozenset(
  (
    *("pyd", "pickle", "pkl", "pck", "pcl", "dill", "joblib"),
    *("pt", "pth", "ckpt"),
  )
)
_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


splits = source_config.no_splits


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> "Records":
  """Return the examples of the tars of `source.path`, indexed if need be."""
  field = context.field
  source_config.check_no_split(source, split, context)
  layout = webdataset_layout.make(source, field)
  tars = files.find(source.path, f"{field}.path")
  try:
    folder = tar_index.prepare(
      tars,
      uid_field=layout.uid_field,
      cache_dir=context.cache_dir,
      name=field,
    )
  except ValueError as error:
    raise ValueError(f"{field}: {error}") from error
  return Records(folder, layout)


class Records:
  """The examples of an index, as `record.Records`."""

  def __init__(self, folder: pathlib.Path, layout: webdataset_layout.Layout):
    self._folder = folder
    self._layout = layout
    self._index = tar_index.read(folder)
    self._texts = caption_files_of(layout, self._index)

  def __len__(self) -> int:
    return len(self._index.spans)

  def __getitem__(self, index: int) -> record.Record:
    index = operator.index(index)
    if not 0 <= index < len(self):
      raise IndexError(f"{index} of {len(self)} examples")
    number = bisect.bisect_right(self._index.stops, index)
    tar = self._index.tars[number]
    start, length, uid = self._index.spans[index].item()
    name = f"{tar.path}, byte {start}"
    if start + length > tar.size:
      raise faults.ExampleError(
        "shard_short", f"{name}: the tar ends within this example"
      )
    if length == tar_scan.MAX_LENGTH:
      raise faults.ExampleError("image_too_large", f"{name}: 4 GiB or more")
    data = files.read_range(tar.path, start, start + length)
    try:
      key, members = members_of(
        lambda start, size: data[start : start + size], 0, length, name
      )
    except (tar_headers.HeaderError, tar_headers.SparseError) as error:
      raise changed(tar, f"{name}: {error}") from error
    name = f"{tar.path}, {key}"
    found = tar_scan.uid(
      key, self._layout.uid_field, _member(members, "json", name)
    )
    if found != uid:
      raise faults.ExampleError(
        "shard_changed", f"{name}: another example was indexed at byte {start}"
      )
    image = image_of(members, self._layout, name)
    if self._texts is not None:
      texts = listed(self._texts, number, key, name)
    else:
      language = language_of(members, self._layout, name)
      texts = {language: captions_of(members, self._layout, name)}
    return record.Record(key, image, texts)

  def fingerprint(self) -> str:
    """Return hex digits of the tars' names, sizes and times of change."""
    facts = [
      (tar.path.rpartition("/")[2], tar.size, tar.version)
      for tar in self._index.tars
    ]
    if self._texts is not None:
      facts += [(file.size, file.version) for file in self._texts.facts()]
    return record.digest(facts)

  def path_of(self, index: int) -> str:
    """Return the path of the tar that has an example."""
    return self._index.tars[bisect.bisect_right(self._index.stops, index)].path

  def uids(self) -> np.ndarray:
    """Return a UID [N], memory-mapped; (0, 0) if the JSON has none."""
    if self._layout.in_file:
      return tar_index.uids_in_files(self._folder, names_of(self._index))
    return self._index.spans["uid"]

  # Pickled without the index, which the other process maps for itself.
  def __reduce__(self):
    return Records, (self._folder, self._layout)

  def __repr__(self) -> str:
    return f"Records({self._folder}, {self._layout})"


def names_of(index: tar_index.Index) -> list[str]:
  """Return the paths of an index's tars without the folder of all of them."""
  return columns.names_from_common([tar.path for tar in index.tars])


# Extension -> content; None if two members have the extension.
Members = Mapping[str, bytes | None]


def members_of(
  read: tar_headers.Read,
  start: int,
  stop: int,
  name: str,
  unread: frozenset[str] = frozenset(),
) -> tuple[str, Members]:
  """Return the key and the members of an example.

  Raises faults.ExampleError, and tar_headers.HeaderError for bytes that are not
  exactly one example.

  Args:
    read: function that reads the tar.
    start, stop: positions of the example.
    name: name of the example in messages.
    unread: extensions of members whose content is returned as b"".
  """
  members: dict[str, bytes | None] = {}
  found_key: bytes | None = None
  position = start
  while position < stop:
    member = tar_headers.next_member(read, position)
    if member is None or member.stop > stop:
      raise tar_headers.HeaderError("not the example that was indexed")
    position = member.next
    found = tar_headers.split_name(member.name)
    if found is None:
      continue
    key, extension = found
    if found_key is None:
      found_key = key
      _check_path(key, name)
    if key != found_key:
      raise tar_headers.HeaderError("two examples where one was indexed")
    if _is_pickle(extension):
      raise faults.ExampleError(
        "unsafe_member", f"{name} has a pickle beside it: .{extension}"
      )
    content = None
    if extension in unread and extension not in members:
      content = b""
    elif extension not in members:
      content = read(member.data, member.stop - member.data)
    members[extension] = content
  if found_key is None:
    raise tar_headers.HeaderError("no example where one was indexed")
  return tar_scan.text_of(found_key), members


def _check_path(key: bytes, name: str) -> None:
  if key.startswith(b"/") or b".." in key.split(b"/"):
    raise faults.ExampleError(
      "unsafe_member", f"{name}: {key!r} leaves the folder of its tar"
    )


@functools.lru_cache(maxsize=256)  # the same few, once an example
def _is_pickle(extension: str) -> bool:
  for compression in _COMPRESSIONS:
    extension = extension.removesuffix(compression)
  return extension.rpartition(".")[2] in _PICKLES


def changed(tar: files.File, message: str) -> faults.ExampleError:
  """Return the fault of a tar whose bytes are not the indexed example."""
  try:
    now = files.facts(tar.path)
  except Exception as error:  # each fsspec package has its own
    return faults.ExampleError("read_failed", f"{message}; {error}")
  if (now.size, now.version) == (tar.size, tar.version):
    return faults.ExampleError("shard_short", f"{message}: the tar is broken")
  return faults.ExampleError(
    "shard_changed", f"{message}: the tar has changed since it was indexed"
  )


def caption_files_of(
  layout: webdataset_layout.Layout, index: tar_index.Index
) -> caption_files.CaptionFiles | None:
  """Return the files of captions; None if the tars contain the captions."""
  if not layout.caption_file:
    return None
  paths = tuple(tar.path for tar in index.tars)
  return caption_files.CaptionFiles(layout.caption_file, paths, layout.language)


def listed(
  caption_source: caption_files.CaptionFiles, number: int, key: str, name: str
) -> caption_files.Texts:
  """Return an example's captions; raises faults.ExampleError.

  Args:
    caption_source: files of captions.
    number: index of the tar.
    key: key of the example.
    name: name of the example in messages.
  """
  texts = caption_source.texts(number, key)
  if not texts:
    raise faults.ExampleError(
      "caption_missing", f"{name} has no caption in its tar's JSON file"
    )
  return texts


def image_of(
  members: Members, layout: webdataset_layout.Layout, name: str
) -> bytes:
  """Return an example's image; raises faults.ExampleError."""
  images = (_member(members, kind, name) for kind in layout.images)
  image = next(filter(None, images), None)
  if image is None:
    raise faults.ExampleError(
      "image_missing",
      f"{name} has {', '.join(sorted(members))}; none of them is one of "
      f"{', '.join(layout.images)} with something in it",
    )
  return image


def language_of(
  members: Members, layout: webdataset_layout.Layout, name: str
) -> str:
  """Return the language of an example; raises faults.ExampleError."""
  if layout.language_field:
    found = fields_of(members, name).get(layout.language_field)
    if found and isinstance(found, str):
      return found
  return layout.language


def captions_of(
  members: Members, layout: webdataset_layout.Layout, name: str
) -> tuple[str, ...]:
  """Return an example's captions; raises faults.ExampleError."""
  texts: list[str] = []
  for kind, field in layout.captions:
    if kind == "json":
      found = _strings(fields_of(members, name).get(field))
    else:
      data = _member(members, kind, name)
      found = [] if data is None else [_decode(data, name)]
    texts += filter(None, (_clean(text, name) for text in found))
    if texts and layout.takes_first:
      break
  if not texts:
    places = [f"{kind}.{field}".strip(".") for kind, field in layout.captions]
    raise faults.ExampleError(
      "caption_missing", f"{name} has no caption in {', '.join(places)}"
    )
  return tuple(texts)


def _member(members: Members, extension: str, name: str) -> bytes | None:
  data = members.get(extension)
  if data is None and extension in members:
    raise faults.ExampleError("member_twice", f"{name} has two .{extension}")
  return data


def fields_of(members: Members, name: str) -> Mapping[str, Any]:
  """Return the fields of an example's JSON; raises faults.ExampleError."""
  data = _member(members, "json", name)
  if data is None:
    return {}
  try:
    fields = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise faults.ExampleError(
      "caption_broken", f"{name}.json is not JSON: {error}"
    ) from error
  return fields if isinstance(fields, dict) else {}


def _strings(value: Any) -> list[str]:
  """Return the captions of a JSON field, skipping values of other forms."""
  if isinstance(value, str):
    return [value]
  if not isinstance(value, list):
    return []
  # MetaCLIP's [[key, caption], ...]; the key names the caption's origin.
  last = [
    item[-1] if isinstance(item, list) and item else item for item in value
  ]
  return [item for item in last if isinstance(item, str)]


def _decode(data: bytes, name: str) -> str:
  try:
    return data.decode()
  except UnicodeDecodeError as error:
    raise faults.ExampleError(
      "caption_broken", f"{name}: the caption is not UTF-8: {error}"
    ) from error


def _clean(text: str, name: str) -> str:
  try:
    text.encode()  # fails for a lone surrogate, which JSON can contain
  except UnicodeEncodeError as error:
    raise faults.ExampleError(
      "caption_broken", f"{name}: the caption is not Unicode: {error}"
    ) from error
  return text.removeprefix("\ufeff").strip()

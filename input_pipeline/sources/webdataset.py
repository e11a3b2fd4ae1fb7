"""Tars of WebDataset's form, read in any order through an index.

An example consists of the members with one key: the path up to the first dot of
the file name (KEY.jpg, KEY.txt, KEY.json, in any order). The index finds them
anywhere in the tar; one read suffices where they follow each other. The same
key and extension twice is a fault; in tars that were joined by cat the keys of
each are its own. Hidden files, folders and files without an extension belong to
no example; a link has a key, but no content.

  image     the first of `source.image` that is present (jpg, jpeg, png, webp,
            gif, bmp, tif, tiff, avif, heic, heif, jp2, ppm, pgm, pbm, then
            the other suffixes of storage/folders.py; with data.video, its
            suffixes of videos)
  captions  each of `source.caption` that is present: an extension ("txt"), or
            "json.FIELD" of KEY.json, or "json.FIELD.FIELD" of an object in it:
            a string, a list of strings, MetaCLIP's list of [key, string], or an
            object of these by language. By default the first of txt,
            json.caption and json.texts that has a caption. "txt:lines" has a
            caption on each line, and "npy:array" the numbers of an array. Or
            one file with the captions of all examples of a tar, such as
            "../../json/{folder}/{tar}.json"; see caption_files.py.
  language  that of the object, or else "json.FIELD" in `source.language_field`
            if the example has one, else `source.language`

Text is UTF-8, stripped of white space. The UID is that of the key, or of
`source.uid`, "json.FIELD": only then does the index read the JSON files. With
"file+key" and "file+json.FIELD" it depends on the tar's path below the folder
of all tars too: where several number their examples from 0. No member is
written to disk, and an example with a member that torch or webdataset would
unpickle is refused.
"""

import bisect
import functools
import operator
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from input_pipeline import faults
from input_pipeline.sources import (
  caption_files,
  columns,
  image_ids,
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
    number, key, members = self._members(index)
    name = f"{self._index.tars[number].path}, {key}"
    image = webdataset_layout.image_of(members, self._layout, name)
    texts = record.texts(
      functools.partial(self._captions, number, key, members),
      self._layout.needs_caption,
    )
    if self._layout.uid_field:
      webdataset_layout.json_of(members)
    return record.Record(key, image, texts, name)

  def _captions(
    self, number: int, key: str, members: webdataset_layout.Members
  ) -> Mapping[str, tuple[str, ...]]:
    """Return an example's captions by language; raises faults.ExampleError."""
    name = f"{self._index.tars[number].path}, {key}"
    if self._texts is not None:
      return listed(self._texts, number, key, name)
    return webdataset_layout.texts_of(members, self._layout, name)

  def _members(self, index: int) -> tuple[int, str, webdataset_layout.Members]:
    """Return number of the tar, key and members of an example."""
    index = operator.index(index)
    if not 0 <= index < len(self):
      raise IndexError(f"{index} of {len(self)} examples")
    number = bisect.bisect_right(self._index.stops, index)
    tar = self._index.tars[number]
    ranges = self._index.ranges(index)
    name = f"{tar.path}, byte {ranges[0][0]}"
    check_ranges(tar, ranges, name)
    pieces = [_piece(tar, start, length) for start, length in ranges]
    try:
      key, members = members_of(pieces, name)
    except tar_headers.HeaderError as error:
      raise changed(tar, f"{name}: {error}") from error
    # A fault of its JSON is raised below, as one of its image comes first.
    json = members.get("json")
    has_uid = not isinstance(json, faults.ExampleError)
    uid = self._index.spans["uid"][index].item()
    if has_uid and tar_scan.uid(key, self._layout.uid_field, json) != uid:
      raise faults.ExampleError(
        "shard_changed", f"{name}: another example was indexed there"
      )
    return number, key, members

  def fingerprint(self) -> str:
    """Return hex digits of the tars' names, sizes and times of change."""
    facts = [
      (tar.path.rpartition("/")[2], tar.size, tar.version)
      for tar in self._index.tars
    ]
    if self._texts is not None:
      facts += [(file.size, file.version) for file in self._texts.facts()]
    return record.digest(facts)

  def image_id(self, index: int) -> bytes:
    """Return the name of an example's image; see image_ids."""
    number, key, members = self._members(index)
    name = f"{self._index.tars[number].path}, {key}"
    image = webdataset_layout.image_of(members, self._layout, name)
    return image_ids.of_bytes(image)

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


# Reader of a tar, and the start and stop of members that follow each other.
Piece = tuple[tar_headers.Read, int, int]


def check_ranges(
  tar: files.File, ranges: Sequence[tuple[int, int]], name: str
) -> None:
  """Raise faults.ExampleError for an example that cannot be read whole.

  Args:
    tar: tar of the example.
    ranges: start and length of its parts.
    name: name of the example in messages.
  """
  for start, length in ranges:
    if length == tar_scan.NO_TAR:
      wrong = tar_scan.why_no_tar(tar, tar_scan.Window(tar))
      if not wrong:
        raise changed(tar, f"{name}: a tar where none was indexed")
      raise faults.ExampleError("shard_broken", wrong)
    if start + length > tar.size:
      raise faults.ExampleError(
        "shard_short",
        f"{name}: the tar ends at byte {tar.size}, within this example",
      )
    if length == tar_scan.MAX_LENGTH:
      raise faults.ExampleError(
        "image_too_large", f"{name}: the members of this key have 4 GiB or more"
      )


def _piece(tar: files.File, start: int, length: int) -> Piece:
  data = files.read_range(tar.path, start, start + length)

  def read(position: int, size: int) -> bytes:
    return data[position - start : position - start + size]

  return read, start, start + length


def members_of(
  pieces: Iterable[Piece], name: str, unread: frozenset[str] = frozenset()
) -> tuple[str, webdataset_layout.Members]:
  """Return the key and the members of an example.

  Raises faults.ExampleError, and tar_headers.HeaderError for bytes that are not
  exactly one example.

  Args:
    pieces: parts of the example.
    name: name of the example in messages.
    unread: extensions of members whose content is returned as b"".
  """
  members: dict[str, bytes | faults.ExampleError] = {}
  the_key: bytes | None = None
  for read, start, stop in pieces:
    for key, extension, member in _members(read, start, stop):
      if the_key is None:
        the_key = key
        _check_path(key, name)
      if key != the_key:
        raise tar_headers.HeaderError("two examples where one was indexed")
      if _is_pickle(extension):
        raise faults.ExampleError(
          "unsafe_member", f"{name} has a pickle beside it: .{extension}"
        )
      if extension in members:
        members[extension] = faults.ExampleError(
          "member_twice",
          f"{name}: {tar_scan.text_of(key)} has .{extension} twice, the second "
          f"at byte {member.start}; each example needs a key of its own",
        )
      elif extension in unread and not member.link:
        members[extension] = b""
      else:
        members[extension] = _content(read, member, name)
  if the_key is None:
    raise tar_headers.HeaderError("no example where one was indexed")
  return tar_scan.text_of(the_key), members


def _members(
  read: tar_headers.Read, start: int, stop: int
) -> Iterator[tuple[bytes, str, tar_headers.Member]]:
  """Yield key, extension and position of the members with a key."""
  position = start
  while position < stop:
    member = tar_headers.next_member(read, position)
    if member is None or member.stop > stop:
      raise tar_headers.HeaderError("not the example that was indexed")
    position = member.next
    name_parts = tar_headers.split_name(member.name)
    if name_parts is not None:
      yield *name_parts, member


def _content(
  read: tar_headers.Read, member: tar_headers.Member, name: str
) -> bytes | faults.ExampleError:
  """Return the content of a member, or why it has none."""
  if member.link:
    option = "hard-dereference" if "hard" in member.link else "dereference"
    return faults.ExampleError(
      "member_link",
      f"{name}: {tar_scan.text_of(member.name)} is a {member.link}, without "
      f"content; `tar --{option}` stores the file itself",
    )
  if not member.is_sparse:
    return read(member.data, member.stop - member.data)
  try:
    return tar_headers.unfolded(read(member.start, member.stop - member.start))
  except tar_headers.SparseError as error:
    return faults.ExampleError("record_broken", f"{name}: {error}")


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

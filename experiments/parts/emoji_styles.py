"""Writes emoji as four artists draw them, with their names in 28 languages.

  npm pack @iconify-json/noto @iconify-json/twemoji @iconify-json/openmoji \\
    @iconify-json/fluent-emoji-flat emojibase-data
  for FILE in iconify-json-*.tgz emojibase-data-*.tgz; do
    mkdir -p packages/${FILE%-*} && tar xzf $FILE -C packages/${FILE%-*}; done
  python -m experiments.parts.emoji_styles --packages=packages \\
    --out=cache/emoji_styles

A concept is an emoji with its skin tones. An emoji is used if all four artists
draw it and it has a name in every language. Of the concepts, by hash, UNSEEN
are held out; of each of the others, the drawings of one of the artists TRAIN
are. Tables below --out, one JSON object a line:

  train   each emoji of the concepts that are trained, by the two artists that
          are not held out for the concept
  val     toneless emoji by the artist held out for the concept, VAL of the
          concepts: for choices of settings
  test    the same for the other concepts
  style   toneless emoji of the trained concepts by the artist HELD_OUT
  unseen  toneless emoji of the unseen concepts, each by one artist of TRAIN

A row of SPLIT.jsonl has "image", "caption" (the English name), "tags" (words
that describe it in English), "group" and "subgroup" (Unicode's), "artist" and
"uid". The folder `records` has the same splits as ArrayRecord files, with names
in all languages. facts.json, written last, has counts, versions and licences.
Held-out pictures that are drawn like another picture, or have the name of
another emoji, are left out: each candidate has a drawing of its own.
"""

import collections
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.parts import icon_sets, program
from input_pipeline.sources import array_record, emoji, prepared
from runtime import progress
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_PACKAGES = flags.DEFINE_string(
  *("packages", None, "Folder with the unpacked npm packages."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Artists whose drawings are trained on, and the one whose style is held out.
TRAIN = ("noto", "openmoji", "twemoji")
HELD_OUT = "fluent-emoji-flat"
# Folder of ArrayRecord files below --out.
RECORDS = "records"
SPLITS = ("train", "val", "test", "style", "unseen")
LANGUAGES = (
  *("bn", "da", "de", "en", "en-gb", "es", "es-mx", "et", "fi", "fr", "hi"),
  *("hu", "it", "ja", "ko", "lt", "ms", "nb", "nl", "pl", "pt", "ru", "sv"),
  *("th", "uk", "vi", "zh", "zh-hant"),
)
# Shares of the concepts that are held out, and of the others for validation.
UNSEEN, VAL = 0.1, 0.2
# Pixels of a side.
SIZE = 64
_SALT = "diptych-styles-1"
_NAMES = "emojibase-data"


def main(argv: Sequence[str]) -> None:
  del argv
  if not _PACKAGES.value or not _OUT.value:
    raise app.UsageError("--packages=FOLDER and --out=FOLDER are both needed")
  facts = make(pathlib.Path(_PACKAGES.value), pathlib.Path(_OUT.value))
  print(json.dumps(facts, indent=2))


def make(packages: pathlib.Path, out: pathlib.Path) -> dict[str, Any]:
  """Write the tables and pictures unless they are there; return the facts.

  Raises:
    FileNotFoundError: a package is missing.
  """
  if (out / "facts.json").is_file():
    return json.loads((out / "facts.json").read_bytes())
  entries = read_entries(packages)
  icons = {x: _icons(packages, x) for x in (*TRAIN, HELD_OUT)}
  drawn = [
    (artist, entry)
    for artist in icons
    for entry in entries
    if splits_of(entry, artist)
  ]
  pngs = []
  with progress.Progress("Drawing emoji", len(drawn)) as bar:
    for artist, entry in drawn:
      icon = icons[artist][entry["key"]]
      picture = icon_sets.on_white(icon_sets.picture(icon, SIZE))
      buffer = io.BytesIO()
      picture.save(buffer, "PNG", compress_level=0)
      pngs.append(buffer.getvalue())
      bar.advance()
  alike = _alike(pngs, [entry["caption"] for _, entry in drawn])
  rows: dict[str, list[dict[str, Any]]] = {x: [] for x in SPLITS}
  for number, (artist, entry) in enumerate(drawn):
    file = f"{artist}/{entry['key']}.png"
    (out / artist).mkdir(parents=True, exist_ok=True)
    (out / file).write_bytes(pngs[number])
    split = splits_of(entry, artist)
    if split == "train" or number not in alike:
      row = {"image": file, "artist": artist, "uid": f"{artist}:{entry['key']}"}
      rows[split].append(row | entry)
  versions = {
    name: _facts_of(packages, name)["version"]
    for name in (*TRAIN, HELD_OUT, _NAMES)
  }
  records = {
    split: [_record(out, row) for row in listed]
    for split, listed in rows.items()
  }
  prepared.prepare(out / RECORDS, lambda: records, versions=versions)
  for split, listed in rows.items():
    lines = (
      json.dumps(_english(row), ensure_ascii=False) + "\n" for row in listed
    )
    whole_files.write(out / f"{split}.jsonl", "".join(lines).encode())
  facts = {
    "pictures": {split: len(listed) for split, listed in rows.items()},
    "subgroups": len({entry["subgroup"] for entry in entries}),
    "left_out": len(alike & {*_held_out(drawn)}),
    "packages": {
      name: _facts_of(packages, name) for name in (*TRAIN, HELD_OUT, _NAMES)
    },
  }
  whole_files.write(
    out / "facts.json", (json.dumps(facts, indent=2) + "\n").encode()
  )
  return facts


def read_entries(packages: pathlib.Path) -> list[dict[str, Any]]:
  """Return the emoji that every artist draws and every language names.

  Returns:
    "key" (code points), "concept" (those without tones), "is_toneless",
    "caption", "tags", "group", "subgroup", "names" (language -> name).
  """
  names = {language: _names(packages, language) for language in LANGUAGES}
  kept = set.intersection(*(set(x) for x in names.values()))
  for artist in (*TRAIN, HELD_OUT):
    kept &= set(_characters(packages, artist))
  meta = json.loads(
    (_package(packages, _NAMES) / "meta" / "groups.json").read_bytes()
  )
  entries = []
  for key, facts in sorted(names["en"].items()):
    if key in kept and "group" in facts:
      entries.append(
        {
          "key": key,
          "concept": facts["concept"],
          "is_toneless": facts["concept"] == key,
          "caption": facts["label"],
          "tags": " ".join(facts.get("tags", [])),
          "group": meta["groups"][str(facts["group"])],
          "subgroup": meta["subgroups"][str(facts["subgroup"])],
          "names": {x: names[x][key]["label"] for x in LANGUAGES},
        }
      )
  return entries


def read_tags(
  packages: pathlib.Path, language: str
) -> dict[str, tuple[str, ...]]:
  """Return the words that describe each emoji in a language, by key."""
  names = _names(packages, language)
  return {key: tuple(facts.get("tags", ())) for key, facts in names.items()}


def splits_of(entry: Mapping[str, Any], artist: str) -> str:
  """Return the split of an artist's drawing of an emoji, "" for none."""
  concept = entry["concept"]
  left_out = TRAIN[int(3 * icon_sets.draw(_SALT, "artist", concept))]
  if icon_sets.draw(_SALT, "unseen", concept) < UNSEEN:
    is_candidate = entry["is_toneless"] and artist == left_out
    return "unseen" if is_candidate else ""
  if artist == HELD_OUT:
    return "style" if entry["is_toneless"] else ""
  if artist != left_out:
    return "train"
  if not entry["is_toneless"]:
    return ""
  is_val = icon_sets.draw(_SALT, "val", concept) < VAL
  return "val" if is_val else "test"


def _held_out(drawn: Sequence[tuple[str, Mapping[str, Any]]]) -> list[int]:
  return [
    number
    for number, (artist, entry) in enumerate(drawn)
    if splits_of(entry, artist) != "train"
  ]


def _alike(pngs: Sequence[bytes], captions: Sequence[str]) -> set[int]:
  """Return the positions of pictures that cannot be candidates.

  They are drawn like another picture, or two emoji have their name.
  """
  images = np.stack([np.asarray(Image.open(io.BytesIO(x))) for x in pngs])
  alike = {
    position
    for group in emoji.group_drawings(images)
    for position in group
    if len(group) > 1
  }
  pictures = collections.Counter(captions)
  most = len((*TRAIN, HELD_OUT))
  return alike | {
    position
    for position, caption in enumerate(captions)
    if pictures[caption] > most
  }


def _icons(packages: pathlib.Path, artist: str) -> dict[str, icon_sets.Icon]:
  drawn = json.loads((_package(packages, artist) / "icons.json").read_bytes())
  return {
    key: icon_sets.icon_of(artist, drawn, name)
    for key, name in _characters(packages, artist).items()
  }


def _characters(packages: pathlib.Path, artist: str) -> dict[str, str]:
  """Return the icon's name for each emoji that is drawn and no alias."""
  folder = _package(packages, artist)
  drawn = json.loads((folder / "icons.json").read_bytes())["icons"]
  listed = json.loads((folder / "chars.json").read_bytes())
  return {_key(k): name for k, name in listed.items() if name in drawn}


def _names(packages: pathlib.Path, language: str) -> dict[str, Any]:
  """Return the facts of each emoji and of each with a skin tone, by key."""
  path = _package(packages, _NAMES) / language / "data.json"
  made = {}
  for facts in json.loads(path.read_bytes()):
    concept = _key(facts["hexcode"])
    for variant in (facts, *facts.get("skins", [])):
      made[_key(variant["hexcode"])] = facts | {
        "label": variant["label"],
        "concept": concept,
      }
  return made


def _package(packages: pathlib.Path, name: str) -> pathlib.Path:
  folder = name if name == _NAMES else f"iconify-json-{name}"
  path = packages / folder / "package"
  if not path.is_dir():
    raise FileNotFoundError(
      f"--packages={packages} must hold {folder}/package, the unpacked npm"
      f" package {name if name == _NAMES else f'@iconify-json/{name}'}; the"
      " docstring of experiments/parts/emoji_styles.py has the commands"
    )
  return path


def _facts_of(packages: pathlib.Path, name: str) -> dict[str, str]:
  facts = json.loads((_package(packages, name) / "package.json").read_bytes())
  return {"version": facts["version"], "licence": facts["license"]}


def _english(row: Mapping[str, Any]) -> dict[str, Any]:
  kept = ("image", "uid", "artist", "caption", "tags", "group", "subgroup")
  return {name: row[name] for name in kept}


def _record(out: pathlib.Path, row: Mapping[str, Any]) -> array_record.Record:
  texts = {language: (name,) for language, name in row["names"].items()}
  return array_record.Record(
    row["uid"], (out / row["image"]).read_bytes(), texts
  )


def _key(code: str) -> str:
  """Return code points in capitals, without U+FE0F."""
  return "-".join(x for x in code.upper().split("-") if x != "FE0F")


if __name__ == "__main__":
  program.run(main, _FLAGS)

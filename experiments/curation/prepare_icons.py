"""Writes a noisy pool of icons, a clean set and a held-out set.

  npm pack @iconify/json && tar xzf iconify-json-*.tgz
  python -m experiments.curation.prepare_icons --icons=package --out=cache/icons

Files below --out, equal for the same version of the package:

  pool/00000.tar ...   KEY.png, KEY.txt and KEY.json as img2dataset writes them;
                       the JSON has uid, url, caption, width, height and kind
  trusted/00000.tar .. clean pairs of other icons of the same sets, for training
                       DFN's filter
  heldout/retrieval.tar, heldout/zero_shot.tar
                       clean pairs of the sets HELD_OUT, which the pool lacks
  kinds.npy            uint8 [pairs of the pool]: kind of web_noise.py's
                       corruption, an index in its SHARES; for tables
  tokenizer/           byte-pair encoding trained on the pool's captions
  facts.json           written last: counts, sets, licences

Held-out pictures that equal one of the pool or of the clean set in every pixel
are left out, and so are sets that are versions of a held-out one (KIN). A tar
that exists is not written again, so the same command resumes a stopped one.
"""

import collections
import hashlib
import io
import json
import pathlib
import tarfile
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import resvg_py
from absl import app, flags
from PIL import Image

from experiments.curation import web_noise
from experiments.parts import icon_sets, program, trained_tokenizer
from runtime import progress
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  *("icons", None, "Folder of the unpacked npm package @iconify/json."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)
_NUM_POOL = flags.DEFINE_integer(
  *("num_pool", 160_000, "Number of pairs of the noisy pool."),
  flag_values=_FLAGS,
)
_NUM_TRUSTED = flags.DEFINE_integer(
  *("num_trusted", 20_000, "Number of pairs of the clean set."),
  flag_values=_FLAGS,
)

SALT = "diptych-icons-1"
# Held-out sets, of different makers and styles: outlines, filled, in colour,
# emoji.
HELD_OUT = (
  *("lucide", "fa7-solid", "noto", "carbon", "iconoir", "bi", "ion"),
  "flat-color-icons",
)
# Forks, other versions and other weights of the held-out sets.
KIN = (
  *("feather", "lucide-lab", "fa", "fa-solid", "fa-regular", "fa-brands"),
  *("fa6-solid", "fa6-regular", "fa6-brands", "fa7-regular", "fa7-brands"),
  *("noto-v1", "famicons"),
)
NUM_RETRIEVAL = 1000
NUM_CLASSES = 100
# Lowest number of sets in the pool and the clean set that have each word of a
# held-out name: only names that can be learnt are evaluated.
MIN_SETS = 3
VOCAB_SIZE = 2048
TAR_PAIRS = 10_000


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  out = pathlib.Path(_OUT.value)
  make(
    icon_sets.open_package(pathlib.Path(_ICONS.value)),
    out,
    num_pool=_NUM_POOL.value,
    num_trusted=_NUM_TRUSTED.value,
  )
  facts = json.loads((out / "facts.json").read_text())
  del facts["licences"]
  print(json.dumps(facts, indent=2))


def make(
  package: icon_sets.Package,
  out: pathlib.Path,
  *,
  num_pool: int,
  num_trusted: int,
) -> None:
  """Write all files that do not exist yet."""
  if (out / "facts.json").exists():
    return
  icons, held_out = read(package, num_pool + num_trusted)
  write(package, icons, held_out, out, num_pool=num_pool)


def write(
  package: icon_sets.Package,
  icons: Sequence[icon_sets.Icon],
  held_out: Sequence[icon_sets.Icon],
  out: pathlib.Path,
  *,
  num_pool: int,
) -> None:
  """Write all files that do not exist yet, from icons that `read` returned.

  The first `num_pool` icons are the pool's, the rest the clean set's.
  """
  for folder in ("pool", "trusted", "heldout", "tokenizer"):
    (out / folder).mkdir(parents=True, exist_ok=True)
  pool = web_noise.corrupt(icons[:num_pool], package.titles, SALT)
  trusted = [
    web_noise.clean_pair(
      icon, web_noise.caption(icon, package.titles[icon.prefix], SALT)
    )
    for icon in icons[num_pool:]
  ]
  digests = set()
  with progress.Progress("Drawing icons", len(icons)) as bar:
    for folder, pairs in (("pool", pool), ("trusted", trusted)):
      for start in range(0, len(pairs), TAR_PAIRS):
        path = out / folder / f"{start // TAR_PAIRS:05d}.tar"
        part = pairs[start : start + TAR_PAIRS]
        digests |= write_tar(path, part, start, bar.advance)
  retrieval, zero_shot = choose(icons, held_out, digests)
  for name, chosen in (("retrieval", retrieval), ("zero_shot", zero_shot)):
    pairs = [web_noise.clean_pair(icon, icon.words) for icon in chosen]
    write_tar(out / "heldout" / f"{name}.tar", pairs, 0)
  kinds = list(web_noise.SHARES)
  codes = np.array([kinds.index(pair.kind) for pair in pool], np.uint8)
  buffer = io.BytesIO()
  np.save(buffer, codes, allow_pickle=False)
  whole_files.write(out / "kinds.npy", buffer.getvalue())
  captions = [pair.caption for pair in pool]
  trained_tokenizer.write(out / "tokenizer", captions, VOCAB_SIZE)
  facts = {
    "version": package.version,
    "pool": collections.Counter(pair.kind for pair in pool),
    "trusted": len(trusted),
    "retrieval": len(retrieval),
    "zero_shot": len(zero_shot),
    "classes": len({icon.words for icon in zero_shot}),
    "sets": len({icon.prefix for icon in icons}),
    "licences": {
      prefix: package.licences[prefix]
      for prefix in sorted({icon.prefix for icon in [*icons, *held_out]})
    },
  }
  text = json.dumps(facts, indent=2) + "\n"
  whole_files.write(out / "facts.json", text.encode())


def choose(
  icons: Sequence[icon_sets.Icon],
  held_out: Sequence[icon_sets.Icon],
  excluded: set[bytes],
) -> tuple[list[icon_sets.Icon], list[icon_sets.Icon]]:
  """Return the held-out icons for retrieval and those for classification.

  Retrieval has one icon for each of NUM_RETRIEVAL names. Classification has all
  icons of the NUM_CLASSES names that most sets of `icons` have. Pictures with a
  digest in `excluded` are left out.
  """
  sets_of_word, sets_of_name = _sets(icons)
  fresh, drawn = [], set(excluded)
  for icon in sorted(held_out, key=lambda icon: _rank("held out", icon)):
    if icon.is_plain and all(
      len(sets_of_word[word]) >= MIN_SETS for word in icon.words.split()
    ):
      digest = digest_of(render(web_noise.clean_pair(icon, "")))
      if digest not in drawn:
        drawn.add(digest)
        fresh.append(icon)
  one = {icon.words: icon for icon in reversed(fresh)}  # the first one wins
  retrieval = sorted(one.values(), key=lambda icon: _rank("retrieval", icon))
  classes = sorted(one, key=lambda name: (-len(sets_of_name[name]), name))
  known = set(classes[:NUM_CLASSES])
  return (
    retrieval[:NUM_RETRIEVAL],
    [icon for icon in fresh if icon.words in known],
  )


def render(pair: web_noise.Pair) -> bytes:
  """Return the picture of a pair on white, a PNG without alpha channel."""
  png = resvg_py.svg_to_bytes(
    svg_string=pair.icon.svg(),
    width=pair.width,
    height=pair.height,
    background="white",
    # The picture must not depend on fonts of the system.
    skip_system_fonts=True,
  )
  buffer = io.BytesIO()
  image = Image.open(io.BytesIO(png)).convert("RGB")
  image.save(buffer, "PNG", compress_level=1)
  return buffer.getvalue()


def digest_of(png: bytes) -> bytes:
  """Return a digest of the size and the pixels, 16 bytes."""
  image = Image.open(io.BytesIO(png))
  data = repr(image.size).encode() + image.tobytes()
  return hashlib.blake2b(data, digest_size=16).digest()


def write_tar(
  path: pathlib.Path,
  pairs: Sequence[web_noise.Pair],
  first: int,
  advance: Callable[[], None] = lambda: None,
) -> set[bytes]:
  """Write pairs with keys from `first` on; return their pictures' digests.

  A tar that exists is only read.
  """
  if path.exists():
    digests = set()
    with tarfile.open(path) as tar:
      for member in tar:
        if member.name.endswith(".png"):
          file = tar.extractfile(member)
          assert file is not None, member.name
          digests.add(digest_of(file.read()))
          advance()
    return digests
  digests, buffer = set(), io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as f:
    for number, pair in enumerate(pairs, first):
      png = render(pair)
      digests.add(digest_of(png))
      key = f"{number:09d}"
      facts = {
        "uid": hashlib.blake2b(key.encode(), digest_size=16).hexdigest(),
        "url": pair.url,
        "caption": pair.caption,
        "width": pair.width,
        "height": pair.height,
        "original_width": pair.width,
        "original_height": pair.height,
        "kind": pair.kind,
      }
      _add(f, f"{key}.png", png)
      _add(f, f"{key}.txt", pair.caption.encode())
      _add(f, f"{key}.json", json.dumps(facts).encode())
      advance()
  whole_files.write(path, buffer.getvalue())
  return digests


def read(
  package: icon_sets.Package, num_icons: int
) -> tuple[list[icon_sets.Icon], list[icon_sets.Icon]]:
  """Return `num_icons` icons, by hash, and all icons of HELD_OUT.

  Raises:
    ValueError: the package has fewer icons that may be used.
  """
  icons, held_out = [], []
  with progress.Progress("Reading icon sets", len(package.titles)) as bar:
    for prefix in package.titles:
      if prefix in HELD_OUT:
        held_out += package.icons(prefix)
      elif prefix not in KIN:
        icons += package.icons(prefix)
      bar.advance()
  if len(icons) < num_icons:
    raise ValueError(
      f"--num_pool and --num_trusted ask for {num_icons} icons; the package "
      f"has {len(icons)} that may be used"
    )
  icons.sort(key=lambda icon: _rank("pool", icon))
  return icons[:num_icons], held_out


def _sets(
  icons: Iterable[icon_sets.Icon],
) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
  words, names = collections.defaultdict(set), collections.defaultdict(set)
  for icon in icons:
    names[icon.words].add(icon.prefix)
    for word in icon.words.split():
      words[word].add(icon.prefix)
  return words, names


def _rank(purpose: str, icon: icon_sets.Icon) -> tuple[float, str]:
  return icon_sets.draw(SALT, purpose, icon.key), icon.key


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
  info = tarfile.TarInfo(name)  # time and owner 0: the same bytes each time
  info.size = len(data)
  tar.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
  program.run(main, _FLAGS)

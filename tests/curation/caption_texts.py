"""Made-up captions in several scripts, and entries that are in some of them."""

import numpy as np

SCRIPTS = {
  "Latin": "aeinorstABé",
  "Cyrillic": "аеиносртПя",
  "CJK": "一人大山水日木火",
  "kana": "あいうカキク",
  "Thai": "กขงจนมาิ",
  "Arabic": "ابتدرسعم",
}
# Text between words, most often a space.
_BETWEEN = (*(" ",) * 12, "", ", ", ".", "! ", "  ", "\t", "`", "-")


def make(
  num_captions: int, num_entries: int, seed: int = 0
) -> tuple[list[str], list[str]]:
  """Return captions, and distinct entries: parts of captions, and others."""
  rng = np.random.default_rng(seed)
  words = []
  for letters in SCRIPTS.values():
    # Up to 17 letters, which is more than two words of 8 bytes.
    sizes = np.minimum(rng.geometric(0.35, 400), 17)
    words += ["".join(rng.choice([*letters], size)) for size in sizes]
  ranks = rng.permutation(len(words)) + 1.0
  chances = 1 / ranks / np.sum(1 / ranks)
  captions = []
  for size in rng.poisson(7, num_captions):
    chosen = rng.choice(len(words), size, p=chances)
    between = rng.integers(len(_BETWEEN), size=size)
    pairs = zip(chosen, between, strict=True)
    captions.append("".join(words[i] + _BETWEEN[j] for i, j in pairs))
  entries = {".", ",", " ", "  ", "a", "山", "ไม่"}
  while len(entries) < num_entries:
    caption = captions[rng.integers(num_captions)]
    start = rng.integers(len(caption) + 1)
    part = caption[start : start + rng.integers(1, 25)]
    if rng.random() < 0.7:
      # Whole words, separated by spaces.
      pieces = caption.split(" ")
      first = rng.integers(len(pieces))
      part = " ".join(pieces[first : first + rng.integers(1, 5)])
    if rng.random() < 0.2:
      part = " ".join(words[i] for i in rng.integers(len(words), size=2))
    if part and "\t" not in part:
      entries.add(part)
  return captions, sorted(entries)

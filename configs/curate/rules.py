"""Rules about single pairs and fan-outs under the names that papers give them.

Each function returns steps for configs/curate/fields.py's `recipe`, cheap ones
first. The same words mean other boundaries in each of them.
"""

from typing import Any

Steps = dict[str, dict[str, Any]]


def align(*, image: str, num_terms: int = 100_000_000) -> Steps:
  """Return ALIGN's filters (arXiv 2102.05918, section 3).

  In the paper's order, but that the length of captions stands before two rules
  which, too, are about captions alone: these keep the same pairs in any order.

  Args:
    image: column that tells images apart; the paper does not say by what.
    num_terms: of the list of frequent words and word pairs.
  """
  return {
    "image_size": _image_size(200, strict=True),
    "aspect_ratio": _aspect_ratio(strict=True),
    "image_fanout": {
      "op": "image_fanout",
      "image": image,
      # Dropped are images with more.
      "max_texts": 1000,
      # Whether pairs count that an earlier step dropped.
      "raw": False,
    },
    "word_count": _word_count(3, 20),
    "text_fanout": {
      "op": "text_fanout",
      # Different images are counted; "" counts how often a caption occurs.
      "image": image,
      # Dropped are captions with more.
      "max_images": 10,
      "squeeze": False,
      "raw": False,
    },
    "rare_tokens": {
      "op": "rare_tokens",
      # Words and word pairs in one list, counted over the whole pool.
      "num_terms": num_terms,
      "bigrams": True,
      # The paper does not say.
      "lowercase": True,
      # "bloom" needs 120 MB for 100 million terms at a rate of 0.01, 180 MB at
      # 0.001; "exact" 800 MB, of which a worker reads what it looks up.
      "membership": "exact",
      "false_positive_rate": 0.001,
    },
  }


def align_near_duplicates() -> Steps:
  """Return the steps that drop near-duplicates of test sets (appendix A).

  Model and references are the user's; both steps need the same model. The
  paper's is trained for this purpose and not published.
  """
  return {
    "embed": {
      "op": "embed",
      # A run's workdir, a published model's folder or file, or hf://.
      "model": "",
      "signal": "cosine",
      # Pairs of one call, over all devices.
      "batch_size": 1024,
    },
    "near_duplicates": {
      "op": "near_duplicates",
      "model": "",
      # Of each set a folder of images, a pattern or their embeddings. The
      # paper's: ILSVRC-2012, Flickr30K, COCO and all downstream tests.
      "references": (),
      # Of k-means on the pool's images; the paper's 4K.
      "num_clusters": 4096,
      # The paper does not say.
      "num_iterations": 20,
      # Clusters of an image, and how many of them make a bucket.
      "num_nearest": 10,
      "subset": 3,
      # Cosine above which an image goes.
      "threshold": 0.975,
      # Of the rows that k-means starts with.
      "seed": 0,
    },
  }


def coyo() -> Steps:
  """Return COYO-700M's filters (README.md of kakaobrain/coyo-dataset).

  `curate_align.py:coyo` leaves those out of its order that need a file or a
  column of the user's. The README's limits of 256 words and of 1000 (it says
  words) do not both fit its statistics: up to 323 words and 1000 characters.
  Words are counted here as Python's text.split(), and 1000 are characters.
  """
  return {
    "image_size": _image_size(200, strict=False),
    "aspect_ratio": _aspect_ratio(strict=False),
    "char_count": {
      "op": "char_count",
      # 5 and less are dropped.
      "min_chars": 6,
      "max_chars": 1000,
      # Each run of whitespace counts as one character.
      "squeeze": True,
    },
    "word_count": _word_count(3, 256),
    # Needs the file: lists of profanities are not part of this project.
    "profanity": {"op": "blocklist", "terms": ()},
    # Needs the column: OpenNSFW2's or GantMan's score.
    "nsfw": {"op": "at_most", "column": "nsfw_score", "max_value": 0.5},
    "noun": {"op": "contains_noun", "wordnet": "", "min_chars": 3},
    "language": language("cld3"),
    "text_fanout": {
      "op": "text_fanout",
      # How often a caption occurs counts, whatever the image.
      "image": "",
      "max_images": 10,
      "squeeze": True,
      "raw": False,
    },
    # 5 KB, where a KB is taken to be 1024 bytes.
    "image_bytes": {"op": "image_bytes", "min_bytes": 5 * 1024},
    "phash": {"op": "phash", "signal": "phash"},
    # Needs the files: hashes of ImageNet-1K and 21K, Flickr30K, COCO, CC3M and
    # CC12M.
    "public": {
      "op": "reference_images",
      "column": "phash",
      "references": (),
      "max_distance": 0,
    },
    "duplicates": {
      "op": "duplicate_pairs",
      # One is kept of those that have both in common.
      "same": ("phash", "text"),
      "squeeze": True,
      # Of the draw of the one that stays.
      "seed": 0,
    },
  }


def basic_filter() -> Steps:
  """Return DataComp's `basic_filter` (arXiv 2304.14108).

  mlfoundations/datacomp, baselines/apply_filter.py,
  load_uids_with_basic_filter_helper.
  """
  return {
    "image_size": _image_size(200, strict=False),
    "aspect_ratio": _aspect_ratio(strict=False),
    # More than 2 words of text.split(), more than 5 characters.
    "word_count": _word_count(3, 0),
    "char_count": _char_count(6),
    "language": language("fasttext"),
  }


def image_based_captions() -> Steps:
  """Return the caption filter of DataComp's image-based baseline.

  It is laxer than `basic_filter`. mlfoundations/datacomp,
  baselines/apply_filter.py, caption_filter.
  """
  return {
    # More than 1 of fastText's tokens.
    "word_count": _word_count(2, 0, words="fasttext"),
    "char_count": _char_count(6),
    "language": language("fasttext"),
  }


def _image_size(min_side: int, *, strict: bool) -> dict[str, Any]:
  # Pixels of the shorter side; whether just as many are too few.
  return {"op": "image_size", "min_side": min_side, "strict": strict}


def _aspect_ratio(*, strict: bool) -> dict[str, Any]:
  # Of the longer to the shorter side; whether just 3 is too much.
  return {"op": "aspect_ratio", "max_ratio": 3.0, "strict": strict}


def _word_count(
  min_words: int, max_words: int, words: str = "split"
) -> dict[str, Any]:
  return {
    "op": "word_count",
    # Both are kept; 0 is no limit.
    "min_words": min_words,
    "max_words": max_words,
    # Python's text.split() or fastText's tokens.
    "words": words,
  }


def _char_count(min_chars: int) -> dict[str, Any]:
  return {
    "op": "char_count",
    "min_chars": min_chars,
    "max_chars": 0,
    "squeeze": False,
  }


def language(
  identifier: str, keep: tuple[str, ...] = ("en",)
) -> dict[str, Any]:
  """Return a step that identifies languages.

  Args:
    identifier: "fasttext" (lid.176) or "cld3".
    keep: languages; () is all.
  """
  return {
    "op": "language",
    "identifier": identifier,
    # Path of another fastText model, as DataComp's lid.176.bin; "" is the
    # smaller lid.176.ftz.
    "model": "",
    # From here on in place of the pool's column of that name.
    "signal": "language",
    "keep": keep,
    # In [0, 1], of the most likely language; what is identified with less is
    # dropped. DataComp asks for none.
    "min_score": 0.0,
  }

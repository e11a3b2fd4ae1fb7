"""Rules about single pairs and fan-outs, under the names in their papers.

Each function returns steps for configs/curate/fields.py's `recipe`, cheap ones
first. Equal words have other boundaries in each paper.
"""

from typing import Any

Steps = dict[str, dict[str, Any]]


def align(*, image: str, num_terms: int = 100_000_000) -> Steps:
  """Return ALIGN's filters (arXiv 2102.05918, section 3).

  The order is the paper's, except that the length of captions comes before two
  other rules about captions: these three keep the same pairs in any order.

  Args:
    image: column that identifies images; the paper does not name one.
    num_terms: length of the list of frequent words and word pairs.
  """
  return {
    "image_size": _image_size(200, strict=True),
    "aspect_ratio": _aspect_ratio(strict=True),
    "image_fanout": {
      "op": "image_fanout",
      "image": image,
      # Images with more captions are dropped.
      "max_texts": 1000,
      # Whether pairs that earlier steps dropped are counted.
      "raw": False,
    },
    "word_count": _word_count(3, 20),
    "text_fanout": {
      "op": "text_fanout",
      # Column of the images to count; "" counts occurrences of a caption.
      "image": image,
      # Captions of more images are dropped.
      "max_images": 10,
      "squeeze": False,
      "raw": False,
    },
    "rare_tokens": {
      "op": "rare_tokens",
      # Length of one list of words and word pairs, counted over the whole pool.
      "num_terms": num_terms,
      "bigrams": True,
      # The paper does not say.
      "lowercase": True,
      # "bloom" needs 120 MB for 100 million terms at a rate of 0.01, 180 MB at
      # 0.001; "exact" 800 MB on disk, mapped into memory.
      "membership": "exact",
      "false_positive_rate": 0.001,
    },
  }


def align_near_duplicates() -> Steps:
  """Return the steps that drop near-duplicates of test sets (appendix A).

  The user names the model, the same for both steps, and the references. The
  paper's model was trained for this purpose and is not published.
  """
  return {
    "embed": {
      "op": "embed",
      # A run's workdir, a published model's folder or file, or hf://.
      "model": "",
      "signal": "cosine",
      # Number of pairs of one call, over all devices.
      "batch_size": 1024,
    },
    "near_duplicates": {
      "op": "near_duplicates",
      "model": "",
      # For each set a folder of images, a pattern or their embeddings. The
      # paper's: ILSVRC-2012, Flickr30K, COCO and all downstream tests.
      "references": (),
      # Clusters of the pool's images; the paper's 4K.
      "num_clusters": 4096,
      # A number of ours; the paper does not say.
      "num_iterations": 20,
      # Nearest clusters of an image, and the number of them that make a bucket.
      "num_nearest": 10,
      "subset": 3,
      # Cosine above which an image is dropped.
      "threshold": 0.975,
      # Random seed of the first centroids.
      "seed": 0,
    },
  }


def coyo() -> Steps:
  """Return COYO-700M's filters (README.md of kakaobrain/coyo-dataset).

  Steps that need a file or a column of the user's are not in the order of
  `curate/align.py:coyo`. The README's limits of 256 words and of 1000 (it says
  words) do not both fit its statistics: up to 323 words and 1000 characters.
  Here words are those of Python's text.split(), and 1000 is a number of
  characters.
  """
  return {
    "image_size": _image_size(200, strict=False),
    "aspect_ratio": _aspect_ratio(strict=False),
    "char_count": {
      "op": "char_count",
      # Captions of at most 5 characters are dropped.
      "min_chars": 6,
      "max_chars": 1000,
      # Each run of whitespace counts as one character.
      "squeeze": True,
    },
    "word_count": _word_count(3, 256),
    # A file is needed: lists of profanities are not part of this project.
    "profanity": {"op": "blocklist", "terms": ()},
    # A column is needed: OpenNSFW2's or GantMan's score.
    "nsfw": {"op": "at_most", "column": "nsfw_score", "max_value": 0.5},
    "noun": {"op": "contains_noun", "wordnet": "", "min_chars": 3},
    "language": language("cld3"),
    "text_fanout": {
      "op": "text_fanout",
      # Occurrences of a caption are counted, with any image.
      "image": "",
      "max_images": 10,
      "squeeze": True,
      "raw": False,
    },
    # Limit of 5 KB, with a KB taken as 1024 bytes.
    "image_bytes": {"op": "image_bytes", "min_bytes": 5 * 1024},
    "phash": {"op": "phash", "signal": "phash"},
    # Files are needed: hashes of ImageNet-1K and 21K, Flickr30K, COCO, CC3M and
    # CC12M.
    "public": {
      "op": "reference_images",
      "column": "phash",
      "references": (),
      "max_distance": 0,
    },
    "duplicates": {
      "op": "duplicate_pairs",
      # One of the pairs with equal values in both columns is kept.
      "same": ("phash", "text"),
      "squeeze": True,
      # Random seed of the choice of the kept pair.
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
    # Captions have more than 2 words of text.split(), more than 5 characters.
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
    # Captions have more than 1 of fastText's tokens.
    "word_count": _word_count(2, 0, words="fasttext"),
    "char_count": _char_count(6),
    "language": language("fasttext"),
  }


def _image_size(min_side: int, *, strict: bool) -> dict[str, Any]:
  # Shortest side in pixels; `strict` drops images of exactly that size.
  return {"op": "image_size", "min_side": min_side, "strict": strict}


def _aspect_ratio(*, strict: bool) -> dict[str, Any]:
  # Highest ratio of the sides; `strict` drops a ratio of exactly 3.
  return {"op": "aspect_ratio", "max_ratio": 3.0, "strict": strict}


def _word_count(
  min_words: int, max_words: int, words: str = "split"
) -> dict[str, Any]:
  return {
    "op": "word_count",
    # Limits, inclusive; a maximum of 0 is no limit.
    "min_words": min_words,
    "max_words": max_words,
    # Definition of a word: Python's text.split() or fastText's tokens.
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
    keep: languages that are kept; () keeps all.
  """
  return {
    "op": "language",
    "identifier": identifier,
    # Path of another fastText model, as DataComp's lid.176.bin; "" is the
    # smaller lid.176.ftz.
    "model": "",
    # Name that replaces the pool's column for later steps.
    "signal": "language",
    "keep": keep,
    # Lowest score in [0, 1] of the most likely language with which a caption is
    # kept. DataComp has no limit.
    "min_score": 0.0,
  }

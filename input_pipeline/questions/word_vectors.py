"""Vectors that words begin with: GloVe's, and their TF-IDF-weighted means."""

import collections
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from input_pipeline.questions import vocabulary


def read_glove(
  path: str, words: Sequence[str], width: int
) -> tuple[np.ndarray, int]:
  """Return vectors [V, width] float32, and the number of words that have one.

  A word that the file lacks has zeros, as in the released code.

  Args:
    path: text file with a word and its numbers a line, as glove.6B.300d.txt.
    words: words of the vocabulary.
    width: numbers of a vector.

  Raises:
    ValueError: the file cannot be read, or a line of one of the words has
      another number of values.
  """
  numbers = {word: index for index, word in enumerate(words)}
  vectors_VW = np.zeros((len(words), width), np.float32)
  num_found = 0
  try:
    with pathlib.Path(path).open(encoding="utf-8") as lines:
      for number, line in enumerate(lines, 1):
        word, _, values = line.rstrip().partition(" ")
        if word not in numbers:
          continue
        try:
          vector_W = np.array(values.split(" "), np.float32)
        except ValueError:
          vector_W = np.zeros(0)
        if len(vector_W) != width:
          raise ValueError(
            f"vqa.glove_path={path}: line {number} must be a word and"
            f" vqa.model.word_width={width} numbers; got {line[:60]!r}"
          )
        vectors_VW[numbers[word]] = vector_W
        num_found += 1
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"vqa.glove_path={path}: {error}") from error
  return vectors_VW, num_found


def tf_idf_means(
  vectors_VW: np.ndarray, texts: Sequence[str], words: Sequence[str]
) -> np.ndarray:
  """Return a mean of the vectors of each word's neighbours in its questions.

  A neighbour's weight is the number of pairs with it over the number of
  questions that have it; weights of a word sum to 1. A word that never has a
  neighbour has zeros. Source: ban-vqa (released code), which divides another
  pair's weight by the frequency; that is a fault.

  Args:
    vectors_VW: vectors of the words.
    texts: questions.
    words: words of the vocabulary.
  """
  numbers = {word: index for index, word in enumerate(words)}
  pairs = collections.Counter[tuple[int, int]]()
  frequency_V = np.zeros(len(words))
  for text in texts:
    tokens = [numbers[w] for w in vocabulary.words(text) if w in numbers]
    frequency_V[list(set(tokens))] += 1
    for one, other in itertools.combinations(tokens, 2):
      pairs[one, other] += 1
      pairs[other, one] += 1
  weight_VV = np.zeros((len(words), len(words)))
  for (row, column), count in pairs.items():
    weight_VV[row, column] = count / frequency_V[column]
  total_V1 = weight_VV.sum(axis=1, keepdims=True)
  weight_VV /= np.where(total_V1 > 0, total_V1, 1)
  return (weight_VV @ vectors_VW).astype(np.float32)

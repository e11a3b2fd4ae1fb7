"""Views of Wikipedia's articles, from Wikimedia's hourly files.

A line of pageviews-YYYYMMDD-HH0000.gz is "domain title views bytes". Titles
have "_" for spaces; a title with ":" belongs to another namespace.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from curation.metadata import corpora, term_counts

_COLUMNS = ("domain", "title", "views", "bytes")
_BLOCK_BYTES = 8 << 20


@dataclasses.dataclass(frozen=True)
class Reader:
  """Selection of the lines to read.

  Attributes:
    domains: domain ("en", "en.m") -> language.
    min_line_views: lowest number of views of a line (a title in an hour).
  """

  domains: Mapping[str, str]
  min_line_views: int


def count(path: str, reader: Reader, folder: pathlib.Path) -> None:
  """Sum a file's views by title; write runs into folder/LANGUAGE.

  Raises:
    ValueError: the file cannot be read.
  """
  counters: dict[str, term_counts.TermCounter] = {}
  for language in reader.domains.values():
    if language not in counters:
      (folder / language).mkdir(parents=True)
      counters[language] = term_counts.TermCounter(folder / language)
  try:
    with (
      corpora.opened(path) as file,
      pcsv.open_csv(
        file,
        read_options=pcsv.ReadOptions(
          column_names=_COLUMNS, block_size=_BLOCK_BYTES, use_threads=False
        ),
        parse_options=pcsv.ParseOptions(
          delimiter=" ",
          quote_char=False,
          # Lines of other forms occur; they name no article.
          invalid_row_handler=lambda row: "skip",
        ),
        convert_options=pcsv.ConvertOptions(
          column_types={
            **dict.fromkeys(("domain", "title", "bytes"), pa.binary()),
            "views": pa.int64(),
          },
          include_columns=_COLUMNS[:3],
          strings_can_be_null=False,
        ),
      ) as batches,
    ):
      for batch in batches:
        _add(pa.table(batch), reader, counters)
  except (pa.ArrowException, EOFError, OSError) as error:
    raise ValueError(
      f"{path} is no file of hourly page views: {error}"
    ) from error
  for counter in counters.values():
    counter.close()


def _add(
  table: pa.Table,
  reader: Reader,
  counters: Mapping[str, term_counts.TermCounter],
) -> None:
  table = table.filter(
    pc.and_(
      pc.greater_equal(table["views"], reader.min_line_views),
      pc.is_in(
        table["domain"],
        pa.array([name.encode() for name in reader.domains], pa.binary()),
      ),
    )
  )
  domains = table["domain"].combine_chunks().dictionary_encode()
  indices = domains.indices.to_numpy()
  for index, name in enumerate(domains.dictionary.to_pylist()):
    rows = table.filter(pa.array(indices == index))
    titles, views = _texts(rows["title"].combine_chunks(), rows["views"])
    titles = pc.replace_substring(titles, "_", " ")
    kept = pc.invert(pc.match_substring(titles, ":"))
    counters[reader.domains[name.decode()]].add(
      titles.filter(kept), views[kept.to_numpy(zero_copy_only=False)]
    )


def _texts(
  titles: pa.Array, views: pa.ChunkedArray
) -> tuple[pa.Array, np.ndarray]:
  """Return the titles that are UTF-8, as almost all are, and their views."""
  counts = views.to_numpy()
  try:
    return titles.cast(pa.string()), counts
  except pa.ArrowInvalid:
    texts = [title.decode("utf-8", "replace") for title in titles.to_pylist()]
    kept = np.array(["\N{REPLACEMENT CHARACTER}" not in text for text in texts])
    return pa.array(texts).filter(pa.array(kept)), counts[kept]

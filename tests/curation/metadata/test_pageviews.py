"""Hourly page views."""

import bz2
import gzip

import pytest

from curation.metadata import pageviews, term_counts

HOUR = b"""\
"" Main_Page 900 0
de Berlin 70 0
en "Heroes"_(album) 60 0
en Caf\xc3\xa9 120 0
en Category:Cats 800 0
en New_York 50 0
en New_York 25 0
en New_York_City 49 0
en broken\xff 80 0
en too many fields 80 0
en.m New_York 700 0
"""


def count(path, tmp_path, min_line_views=50):
  domains = {"en": "en", "de": "de", "de.m": "de"}
  out = tmp_path / "out"
  pageviews.count(str(path), pageviews.Reader(domains, min_line_views), out)
  found = {}
  for language in ("en", "de"):
    tables = [term_counts.load(run) for run in (out / language).iterdir()]
    terms, views = term_counts.top(tables, 99, 1)
    found[language] = dict(zip(terms, views.tolist(), strict=True))
  return found


@pytest.mark.parametrize(
  ("suffix", "packed"), [("", HOUR), (".gz", gzip.compress(HOUR, mtime=0))]
)
def test_views_by_title(tmp_path, suffix, packed):
  path = tmp_path / f"pageviews-20180419-000000{suffix}"
  path.write_bytes(packed)
  # A line of fewer than 50 views, another namespace, what is no UTF-8 or has
  # other columns, and other domains are left out.
  assert count(path, tmp_path) == {
    "en": {"Café": 120, '"Heroes" (album)': 60, "New York": 50},
    "de": {"Berlin": 70},
  }


def test_lines_of_a_title_are_added_up(tmp_path):
  path = tmp_path / "hour.bz2"
  path.write_bytes(bz2.compress(HOUR))
  assert count(path, tmp_path, min_line_views=1)["en"]["New York"] == 75


def test_a_file_that_is_cut_off(tmp_path):
  path = tmp_path / "hour.gz"
  path.write_bytes(gzip.compress(HOUR)[:-20])
  with pytest.raises(ValueError, match="hour.gz is no file of hourly page"):
    count(path, tmp_path)

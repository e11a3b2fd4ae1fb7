"""Lists of places and terms: sources, groups and forms."""

from curation.shares import lists


def test_each_list_names_its_source_and_its_licence():
  for source in lists.sources():
    assert set(source) == {"name", "url", "licence", "use"}
    assert all(source.values())


def test_places_are_territories_in_14_languages():
  entries = lists.read()
  names = {(e.words, e.label) for e in entries if e.group == lists.PLACES}
  for name in ("germany", "alemania", "ドイツ", "독일", "alemanha", "germania"):
    assert (name, "DE") in names
  for name in ("allemagne", "deutschland", "آلمان", "jerman", "德国"):
    assert (name, "DE") in names
  for name in ("германия", "almanya", "ألمانيا", "german", "berlin"):
    assert (name, "DE") in names
  territories = lists.territories()
  assert len(territories) == 257
  assert territories["CI"] == "Côte d’Ivoire"
  assert {label for _, label in names} <= set(territories)


def test_words_that_mean_something_else_are_no_places():
  names = {e.words for e in lists.read() if e.group == lists.PLACES}
  # Iceland in German, Mali and Chile in katakana, of 2 letters.
  assert names.isdisjoint(("island", "islands", "マリ", "チリ", "male", "us s"))


def test_common_words_count_before_people_only():
  entries = lists.read()
  black = {e.words for e in entries if e.label == "black"}
  assert "black" not in black
  assert {"black woman", "black men", "black people"} <= black
  assert lists.groups() == (
    *("gender", "age", "ethnicity", "religion", "disability"),
    "sexual orientation",
  )


def test_words_are_letters_and_digits_in_the_nfc_form():
  assert lists.words("(Co\u0302te_d’Ivoire) 2-3") == "Côte d Ivoire 2 3"

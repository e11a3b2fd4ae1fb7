import collections
import unicodedata

import hypothesis
import hypothesis.strategies as st
import pytest
import regex

from evaluators.robustness import texts

CAPTIONS = (
  "A photo of a small brown dog on the beach.",
  "un café à Orléans, l'été",
  "हिन्दी में एक छोटा कुत्ता",
  "沙滩上的一只棕色的狗。",
  "маленькая собака на пляже",
  "สุนัขตัวเล็กบนชายหาด",
  "כלב קטן על החוף",
  "كلب صغير على الشاطئ",
  "한국어로 쓴 강아지 사진",
  "👨‍👩‍👧 and 👍🏽 at the 🇩🇪🇫🇷 border",
  "e\u0301te\u0301 de\u0301compose\u0301",
)
# Letters, marks, jamo, joiners, flags, a keycap: all that clusters are made of.
PIECES = st.lists(
  st.sampled_from(
    [*"abZé 9.", "e\u0301", "\u0301", "का", "क्ष", "\u0e33", "ก", "\u1100"]
    + ["\u1161", "\u11a8", "가", "\u200d", "👩‍🚀", "🇩", "🇪", "1\ufe0f\u20e3"]
    + ["\r\n", "中", "ж", "\u0600", "👍🏽"]
  ),
  max_size=12,
).map("".join)


@pytest.mark.parametrize("kind", texts.KINDS)
def test_a_text_and_a_seed_have_one_result(kind):
  results = [texts.perturb_all(CAPTIONS, kind, seed=seed) for seed in (0, 0, 1)]
  assert results[0] == results[1]
  if kind not in ("lower", "upper", "title", "hashtags"):
    assert results[0] != results[2]
  # Order and neighbours do not matter.
  assert texts.perturb_all(CAPTIONS[::-1], kind)[0][::-1] == results[0][0]
  changed, num_same = results[0]
  assert num_same == sum(a == b for a, b in zip(CAPTIONS, changed, strict=True))
  assert num_same < len(CAPTIONS)
  assert kind in texts.NOT_CHANGED
  assert texts.perturb("", kind) == ""


def test_results_stay_for_ever():
  # Draws by BLAKE2: neither Python's nor NumPy's release changes them.
  text = CAPTIONS[0]
  assert {kind: texts.perturb(text, kind) for kind in texts.KINDS} == {
    "typos": "A pjoto of a small brown dog on the ebwch.",
    "typos_swap": "A photo fo a small borwn dog on the baech.",
    "typos_drop": "A photo of a smal brown og on the beac.",
    "typos_duplicate": "AA photo of a small brown dog onn tthe beach.",
    "typos_keyboard": "A photo of a small briwn doy oj the beach.",
    "lower": "a photo of a small brown dog on the beach.",
    "upper": "A PHOTO OF A SMALL BROWN DOG ON THE BEACH.",
    "title": "A Photo Of A Small Brown Dog On The Beach.",
    "hashtags": "A photo of a small brown dog on the beach. #small #beach",
    "emoji": "A photo of a small brown dog on the beach. ✨",
    "whitespace": " A \nphoto\tof   a   small\tbrown\tdog   on\tthe \nbeach. ",
    "punctuation": "A photo of a small brown dog on the beach",
    "paraphrase": "This picture shows a small brown dog on the beach.",
  }


def _letters(text):
  return [
    g for g in texts.graphemes(text) if unicodedata.category(g[0])[0] in "LN"
  ]


@pytest.mark.parametrize("text", CAPTIONS)
def test_typos_change_as_many_letters_as_the_rate_says(text):
  letters = _letters(text)
  wanted = max(1, round(0.1 * len(letters)))
  one = collections.Counter(letters)
  dropped = one - collections.Counter(
    _letters(texts.perturb(text, "typos_drop"))
  )
  assert dropped.total() == wanted
  added = (
    collections.Counter(_letters(texts.perturb(text, "typos_duplicate"))) - one
  )
  assert added.total() == wanted
  swapped = texts.perturb(text, "typos_swap")
  assert collections.Counter(texts.graphemes(swapped)) == collections.Counter(
    texts.graphemes(text)
  )
  far = sum(
    a != b
    for a, b in zip(
      texts.graphemes(text), texts.graphemes(swapped), strict=True
    )
  )
  assert wanted <= far <= 2 * wanted
  # Whatever is no letter stays, in its order.
  for edit in texts.EDITS:
    got = texts.graphemes(texts.perturb(text, f"typos_{edit}"))
    other = [g for g in texts.graphemes(text) if g not in letters]
    assert [g for g in got if g in other] == other


def test_keys_are_neighbours():
  keys = texts._neighbours()
  assert set(keys["g"]) == set("fhtyvb")
  assert set(keys["q"]) == set("wa")
  assert set(keys["ф"]) == set("ыйця")
  for key, others in keys.items():
    assert all(key in keys[other] for other in others)
  got = texts.perturb("GGGGGGGGGG ggg", "typos_keyboard")
  assert got != "GGGGGGGGGG ggg"
  assert got[:10].isupper()
  assert got[11:].islower()
  for text in ("狗", "é", "כלב"):
    assert texts.perturb(text, "typos_keyboard") == text


def test_no_word_vanishes_and_no_words_are_mixed():
  text = "a b c d e f g"
  assert texts.perturb(text, "typos_drop") == text
  assert texts.perturb(text, "typos_swap") == text
  assert texts.perturb("aa bb cc", "typos_swap") == "aa bb cc"
  words = ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op", "qr", "st"]
  for edit in ("drop", "swap"):
    key = "any"
    got = texts.typos(" ".join(words), key, edits=(edit,), rate=1).split(" ")
    assert len(got) == 10
    assert all(set(a) <= set(b) for a, b in zip(got, words, strict=True))
    assert min(map(len, got)) == (1 if edit == "drop" else 2)
    assert all(a != b for a, b in zip(got, words, strict=True))


@hypothesis.given(text=PIECES, seed=st.integers(0, 20))
@hypothesis.settings(max_examples=150, deadline=None)
def test_clusters_are_never_broken(text, seed):
  """Each user-perceived character, by another library, is one of the text's."""
  for kind in ("typos", "typos_swap", "typos_drop", "typos_duplicate"):
    got = regex.findall(r"\X", texts.perturb(text, kind, seed=seed))
    whole = set(regex.findall(r"\X", text))
    if kind == "typos":
      whole |= set("qwertyuiopasdfghjklzxcvbnmQWERTYUIOPASDFGHJKLZXCVBNM")
      whole |= set("йцукенгшщзхъфывапролджэячсмитьбю")
    assert set(got) <= whole
  assert texts.graphemes(text) == regex.findall(r"\X", text)


@pytest.mark.parametrize(
  ("text", "kind", "want"),
  [
    ("dog's día ǆ 狗", "title", "Dog's Día ǅ 狗"),
    ("Straße", "upper", "STRASSE"),
    ("ΟΔΟΣ", "lower", "οδος"),
    ("the dog, the cat", "hashtags", "the dog, the cat #the #"),
    ("हिन्दी", "hashtags", "हिन्दी #हिन्दी"),
    ("?!", "hashtags", "?!"),
    ("  ", "whitespace", "  "),
    ("dog", "whitespace", " dog "),
    ("一只狗。", "punctuation", "一只狗"),
    ("A dog?!", "punctuation", "A dog"),
    ("...", "punctuation", "..."),
    ("a photo of a {}", "punctuation", "a photo of a {}"),
    ("a dog", "paraphrase", "a dog"),
    ("ein Foto von {}", "paraphrase", "ein Foto von {}"),
  ],
)
def test_single_texts(text, kind, want):
  got = texts.perturb(text, kind)
  if kind == "hashtags" and want.endswith("#"):
    assert got in (want + "dog", want + "cat", text + " #dog #cat")
  elif text.endswith("{}") and kind == "punctuation":
    assert got.startswith(want)
  else:
    assert got == want


def test_templates_are_paraphrased():
  for forms in texts.PARAPHRASES:
    for form in forms:
      got = {texts.perturb(form, "paraphrase", seed=seed) for seed in range(40)}
      # All other forms of the row, and no other.
      assert got == set(forms) - {form}
      assert texts.perturb(f"{form}.", "paraphrase").endswith(".")
  assert len({form for forms in texts.PARAPHRASES for form in forms}) == sum(
    map(len, texts.PARAPHRASES)
  )


def test_prompts_are_paraphrased():
  """The same as of their template, with the object in it."""
  results = set()
  for seed in range(40):
    got = texts.perturb(
      "A bad photo of the NASA rocket.", "paraphrase", seed=seed
    )
    assert got.count("the NASA rocket") == 1
    assert got[0].isupper()
    assert got.endswith(".")
    results.add(got)
  assert len(results) == 3
  back = {
    texts.perturb("An apple in a photo", "paraphrase", seed=seed)
    for seed in range(40)
  }
  assert "A picture of an apple" in back
  names = {
    texts.perturb("Rome in a photo", "paraphrase", seed=seed)
    for seed in range(40)
  }
  assert "A picture of Rome" in names


def test_unknown_kinds_are_refused():
  with pytest.raises(ValueError, match="one of typos, .*; got 'shout'"):
    texts.perturb("a", "shout")

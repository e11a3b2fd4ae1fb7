"""Records of a source whose captions are made by its grammar.

`Record.texts` are then the texts of the grammar with every optional part, the
first of alternatives and parts in the order in which they are written: those
that evaluation, a tokenizer's vocabulary and --task=prepare read. Training
draws others, with `draw`, of `Record.fields` and `Record.captions`.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline import captions, faults, sources
from input_pipeline.grammars import grammar
from input_pipeline.sources import columns, source_config
from input_pipeline.sources import record as record_lib
from runtime import checks

# Kinds of draws, by config.
DRAWS = ("example", "batch")
# Formats whose records have captions and nothing else.
_WITHOUT_FIELDS = ("emoji", "array_record")
# Language under which formats return captions and values, before they are told
# apart; no caption of a source with a grammar has a language of its own.
UNNAMED = "fields"
# Random word with which every optional part is present, and the first
# alternative and order are drawn.
_FIRST = 0


@dataclasses.dataclass(frozen=True)
class Texts:
  """The grammars of a source, by name.

  Attributes:
    grammars: name -> grammar, in the config's order.
    per_batch: whether all examples of a batch get the same draw.
  """

  grammars: Mapping[str, grammar.Grammar]
  per_batch: bool = False

  @functools.cached_property
  def needs_caption(self) -> bool:
    """Return whether a grammar has the slot of the example's own caption."""
    return any(grammar.CAPTION in one.slots for one in self.grammars.values())

  def draw(
    self, fields: Mapping[str, str], words: Sequence[int]
  ) -> tuple[str, str]:
    """Return the name of a grammar, drawn uniformly, and its text.

    Where the example lacks a field for it, those that it has fields for are
    drawn instead.

    Args:
      fields: values by name; grammar.CAPTION is the example's caption.
      words: `num_words` random integers below 2**64.

    Raises:
      faults.ExampleError: "caption_missing", where no text can be made.
    """
    choice, *words = words
    names = list(self.grammars)
    rest, first = divmod(choice, len(names))
    if text := _text(self.grammars[names[first]], fields, words):
      return names[first], text
    made = [
      (name, text)
      for name, one in self.grammars.items()
      if (text := _text(one, fields, words))
    ]
    if not made:
      raise _missing(self.grammars, fields)
    return made[rest % len(made)]

  @functools.cached_property
  def num_words(self) -> int:
    """Return the number of random words of a draw."""
    return 1 + max(one.num_words for one in self.grammars.values())

  def canonical(self, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return each grammar's text with all of its parts, where it can be made.

    Raises:
      faults.ExampleError: "caption_missing", where no text can be made.
    """
    made = [
      _text(one, fields, [_FIRST] * one.num_words)
      for one in self.grammars.values()
    ]
    texts = [text for text in made if text]
    if not texts:
      raise _missing(self.grammars, fields)
    return tuple(dict.fromkeys(texts))

  def every(self, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return every text that these fields make, each once, as of a class.

    A text that has none of the fields, or needs another one, is left out.

    Raises:
      ValueError: a grammar has more than grammar.MAX_EXPANDED texts.
    """
    made: dict[str, None] = {}
    for one in self.grammars.values():
      without = grammar.expand(one, {})
      made |= {x: None for x in grammar.expand(one, fields) if x not in without}
    return tuple(made)


def draw(
  texts: Texts,
  record: record_lib.Record,
  rng: np.random.Generator,
  *,
  batch: tuple[int, int],
  max_chars: int,
) -> tuple[str, str, str]:
  """Return a grammar's name, a language, and a text that training draws.

  Args:
    texts: the source's grammars.
    record: record of `Records`.
    rng: generator of the example; its own caption is drawn with it too.
    batch: seed, and number of the batch.
    max_chars: most characters of a caption.

  Raises:
    faults.ExampleError: "caption_missing", "caption_too_long".
  """
  fields = record.fields
  if texts.needs_caption and record.captions:
    number = int(rng.integers(len(record.captions)))
    fields = {**fields, grammar.CAPTION: record.captions[number]}
  words = (
    grammar.batch_words(*batch, texts.num_words)
    if texts.per_batch
    else rng.bit_generator.random_raw(texts.num_words).tolist()
  )
  name, text = texts.draw(fields, words)
  if len(text) > max_chars:
    raise faults.ExampleError(
      "caption_too_long",
      f"the text of the grammar {name} has {len(text)} characters; "
      f"data.max_caption_chars={max_chars}",
    )
  (language,) = record.texts
  return name, language, text


def make(
  source: source_config.SourceConfig, without: Sequence[str] = ()
) -> Texts | None:
  """Return the grammars of a source but those of `without`; None if none."""
  if not source.grammar:
    return None
  return Texts(
    {
      name: grammar.parse(text, source.grammar_articles)
      for name, text in source.grammar
      if name not in without
    },
    source.grammar_draw == "batch",
  )


def check(source: source_config.SourceConfig, field: str) -> None:
  """Raise ValueError for the first field of a grammar that cannot be used.

  Args:
    source: section of the source.
    field: name of the section in messages.
  """
  if not source.grammar:
    for name in ("grammar_fields", "grammar_articles"):
      if getattr(source, name):
        checks.refuse(
          f"{field}.{name} needs {field}.grammar; got {getattr(source, name)!r}"
        )
    return
  checks.one_of(f"{field}.grammar_draw", source.grammar_draw, DRAWS)
  for name in ("templates", "language_field", "keep"):
    if getattr(source, name):
      checks.refuse(
        f"{field}.{name} cannot stand beside {field}.grammar; got "
        f"{getattr(source, name)!r}"
      )
  if source.format in _WITHOUT_FIELDS:
    checks.refuse(
      f"{field}.grammar needs a format with fields, among "
      f"{', '.join(x for x in sources.FORMATS if x not in _WITHOUT_FIELDS)}; "
      f"got {source.format!r}"
    )
  for name, pairs in (
    ("grammar", source.grammar),
    ("grammar_fields", source.grammar_fields),
  ):
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
      checks.refuse(f"{field}.{name} must name each once; got {names}")
  fields = {name for name, _ in source.grammar_fields}
  slots: set[str] = set()
  for name, text in source.grammar:
    try:
      slots |= {*grammar.parse(text, source.grammar_articles).slots}
    except ValueError as error:
      checks.refuse(f"{field}.grammar, {name}: {error}")
      return
  if unknown := sorted(slots - fields - {grammar.CAPTION}):
    checks.refuse(
      f"{field}.grammar has slots that {field}.grammar_fields does not name: "
      f"{', '.join(unknown)}; got the fields {', '.join(sorted(fields))}"
    )
  if unused := sorted(fields - slots):
    checks.refuse(
      f"{field}.grammar_fields has {', '.join(unused)}, of which no text of "
      f"{field}.grammar has a slot"
    )
  if grammar.CAPTION in slots and not source.caption:
    checks.refuse(
      f"{field}.caption must name the caption that stands for {{}} in "
      f"{field}.grammar; got ()"
    )


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> record_lib.Records:
  """Return the records of a split, their captions made by the grammar if any.

  Raises as `open_split` of a format does; see input_pipeline.sources.
  """
  form = sources.FORMATS[source.format]
  texts = make(source)
  if texts is None:
    return form.open_split(source, split, context)
  locations = tuple(f"{x}{columns.VALUE}" for _, x in source.grammar_fields)
  read = source.caption if texts.needs_caption else ()
  section = dataclasses.replace(
    source, caption=(*read, *locations), language=UNNAMED
  )
  try:
    opened = form.open_split(section, split, context)
  except ValueError as error:
    if f"{context.field}.caption " not in str(error) or read:
      raise
    text = str(error).replace(".caption ", ".grammar_fields ")
    raise ValueError(text.replace(columns.VALUE, "")) from error
  facts = (source.grammar, source.grammar_fields, source.grammar_articles)
  names = tuple(name for name, _ in source.grammar_fields)
  return Records(opened, texts, names, (source.language, repr(facts)))


class Records(record_lib.Reading):
  """Records whose last texts are values of fields; see record.Records."""

  def __init__(
    self,
    records: record_lib.Records,
    texts: Texts,
    names: tuple[str, ...],
    facts: tuple[str, str],
  ):
    """Open records.

    Args:
      records: records; the last len(names) texts of each are values.
      texts: grammars.
      names: names of the fields, in the order of their texts.
      facts: language of the made texts, and what the fingerprint depends on.
    """
    super().__init__(records)
    self._texts = texts
    self._names = names
    self._facts = facts

  def __getitem__(self, index: int) -> record_lib.Record:
    """Return a record with the canonical texts of its fields."""
    record = self._records[index]
    language, _ = self._facts
    with faults.located(record.origin or record.key):
      own, fields = split_values(record.texts, self._names)
      made = []
      for caption in (own if self._texts.needs_caption else ()) or ("",):
        made += self._texts.canonical({**fields, grammar.CAPTION: caption})
    return dataclasses.replace(
      record,
      texts={language: tuple(dict.fromkeys(made))},
      fields=fields,
      captions=own,
    )

  def fingerprint(self) -> str:
    """Return hex digits of the records and the grammar."""
    return record_lib.digest((self._records.fingerprint(), *self._facts))


def split_values(
  texts: Mapping[str, Sequence[str]], names: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
  """Return an example's captions, and the values of fields that it has.

  Values are the texts that columns.value_text marks, the last ones.

  Raises:
    faults.ExampleError: "caption_broken" where there are not as many values.
  """
  every = texts.get(UNNAMED, ())
  num_captions = len(every) - len(names)
  values = every[max(num_captions, 0) :]
  if num_captions < 0 or not all(
    value.startswith(columns.VALUE_MARK) for value in values
  ):
    raise faults.ExampleError(
      "caption_broken",
      f"expected a value, or none, for each of the fields {list(names)}; got "
      f"{list(values)}",
    )
  fields = {
    name: value.removeprefix(columns.VALUE_MARK)
    for name, value in zip(names, values, strict=True)
  }
  others = (text for code in texts if code != UNNAMED for text in texts[code])
  return (
    (*every[:num_captions], *others),
    {name: value for name, value in fields.items() if value},
  )


def _text(
  one: grammar.Grammar, fields: Mapping[str, str], words: Sequence[int]
) -> str:
  """Return a text of a grammar, "" where none can be made, or a blank one."""
  text = one.draw(fields, words)
  return "" if text is None or captions.is_blank(text) else text


def _missing(
  grammars: Mapping[str, grammar.Grammar], fields: Mapping[str, str]
) -> faults.ExampleError:
  slots = {
    slot or "the caption" for one in grammars.values() for slot in one.slots
  }
  there = sorted(
    name or "the caption" for name, value in fields.items() if value
  )
  return faults.ExampleError(
    "caption_missing",
    f"no text of the grammar ({', '.join(grammars)}) can be made: it has the "
    f"slots {sorted(slots)}; the example has {there}",
  )

"""From a source to batches: the whole chain is in `make_train_dataset`."""

import contextlib
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import grain

from input_pipeline import (
  captions,
  examples,
  faults,
  mixture,
  probe,
  sources,
  tokenizers,
  workers,
)
from input_pipeline import clocks as clocks_lib
from input_pipeline import languages as languages_lib
from input_pipeline.asking import asked
from input_pipeline.asking import rows as rows_lib
from input_pipeline.grammars import filled
from input_pipeline.images import (
  augmentation,
  image_ops,
  image_protocols,
)
from input_pipeline.images import views as views_lib
from input_pipeline.regions import region_rows, region_targets, regional
from input_pipeline.selecting import balanced, holdout, subset
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from input_pipeline.videos import clips, sampling
from input_pipeline.videos import video as video_lib
from runtime import checks, marks

# Name -> what the source trains on.
Opened = Mapping[str, record_lib.Records]


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The section `data` of a config; its fields are explained in base.py."""

  sources: marks.Fixed[Mapping[str, source_config.SourceConfig]] = (
    # A dict has no hash; configs that differ in it alone may share theirs.
    dataclasses.field(hash=False)
  )
  cache_dir: marks.Local[str]
  languages: marks.Fixed[tuple[str, ...]]
  max_caption_chars: marks.Fixed[int]
  image_size: marks.Fixed[int]
  augmentation: augmentation.Augmentation
  num_tokens: marks.Fixed[int]
  tokenizer: marks.Fixed[str]
  tokenizer_path: marks.Fixed[str]
  vocab_size: marks.Fixed[int]
  max_bad_fraction: marks.Local[float]
  stall_seconds: marks.Local[float]
  num_workers: marks.Local[int]
  num_threads: marks.Local[int]
  num_prefetch_batches: marks.Local[int]
  image_protocol: marks.Free[str] = ""
  cut_captions: marks.Fixed[bool] = True
  train_num_tokens: marks.Fixed[int] = 0
  video: sampling.VideoConfig = sampling.VideoConfig()
  leave_out: marks.Fixed[tuple[str, ...]] = ()
  answers_path: marks.Fixed[str] = ""
  regions: region_targets.RegionsConfig = region_targets.RegionsConfig()
  views: views_lib.ViewsConfig = views_lib.ViewsConfig()
  tests: marks.Free[Mapping[str, source_config.SourceConfig]] = (
    dataclasses.field(default_factory=dict, hash=False)
  )

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError for fields that cannot be worked with."""
    if not self.sources:
      checks.refuse("data.sources must name at least one source; got none")
    for section, listed in (("sources", self.sources), ("tests", self.tests)):
      for name, source in listed.items():
        with checks.collected():
          field = f"data.{section}.{name}"
          sources.check(source, field)
          if source.format in sources.FORMATS:
            filled.check(source, field)
            asked.check(source, field)
            regional.check(source, field)
    regional.check_sections(self.regions, self.sources, self.tests)
    weights = {name: source.weight for name, source in self.sources.items()}
    repeats = {name: source.repeat for name, source in self.sources.items()}
    if any(weights.values()) and set(repeats.values()) != {1}:
      checks.refuse(
        "data.sources: repeat must be 1 beside weights, which say how often "
        f"examples come; got {repeats}"
      )
    if any(weights.values()) and not all(weights.values()):
      checks.refuse(
        "data.sources: weight must be 0 for all sources (they are drawn by "
        f"size) or for none; got {weights}"
      )
    self._check_left_out()
    checks.one_of("data.tokenizer", self.tokenizer, tokenizers.TOKENIZERS)
    if self.tokenizer_path and self.tokenizer in tokenizers.WITHOUT_FILE:
      checks.refuse(
        f'data.tokenizer_path must be "" for data.tokenizer='
        f'"{self.tokenizer}", which reads no file; got {self.tokenizer_path!r}'
      )
    if self.sources and all(
      source.format in sources.FORMATS for source in self.sources.values()
    ):
      known = [
        sources.FORMATS[source.format].LANGUAGES
        for source in self.sources.values()
      ]
      _check_languages(
        self.languages,
        None
        if None in known
        else [language for some in known for language in some or ()],
      )
    with checks.collected():
      self.augmentation.check(self.image_size)
    self.views.check(self.image_size)
    if self.views.is_on and self.video.is_on:
      checks.refuse(
        "data.views.has_global must be False with data.video, whose frames have"
        " no views; got True"
      )
    self.video.check()
    if self.video.is_on and self.regions.is_on:
      checks.refuse(
        "data.regions.num_tokens must be 0 with data.video, whose frames have"
        f" no boxes; got {self.regions.num_tokens}"
      )
    if self.video.is_on and self.augmentation.is_naflex:
      checks.refuse(
        "data.augmentation.resize must make square frames with data.video;"
        ' got "naflex"'
      )
    checks.one_of(
      "data.image_protocol",
      self.image_protocol,
      ("", "training", *image_protocols.PROTOCOLS),
    )
    if self.augmentation.is_naflex and self.image_protocol:
      checks.refuse(
        'data.image_protocol must be "" with data.augmentation.resize="naflex";'
        f" got {self.image_protocol!r}"
      )
    checks.between("data.max_bad_fraction", self.max_bad_fraction, 0, 1)
    for name, lowest in (
      ("max_caption_chars", 1),
      ("image_size", 1),
      ("num_tokens", 2),  # one token and the end of text
      ("stall_seconds", 0),
      ("num_workers", 0),
      ("num_threads", 0),
      ("num_prefetch_batches", 0),
    ):
      checks.at_least(f"data.{name}", getattr(self, name), lowest)

  def section(self, name: str) -> source_config.SourceConfig:
    """Return the section of a source as its format reads it."""
    return dataclasses.replace(self.sources[name], is_video=self.video.is_on)

  def decoded_size(self, data: bytes) -> tuple[int, int]:
    """Return height and width of an example's image or video, decoded.

    Of a video, the first frame is decoded.

    Raises:
      faults.ExampleError: it cannot be decoded.
    """
    if self.video.is_on:
      return clips.first_size(data)
    height, width, _ = image_ops.decode(data).shape
    return height, width

  def _check_left_out(self) -> None:
    """Refuse provenances that no source has, or that are all of a source."""
    grammars = {
      name: [grammar for grammar, _ in source.grammar]
      for name, source in self.sources.items()
    }
    known = {x for names in grammars.values() for x in names}
    if any(source.short_templates for source in self.sources.values()):
      known.add(captions.AUGMENTED)
    if unknown := [x for x in self.leave_out if x not in known]:
      checks.refuse(
        f'data.leave_out must name grammars of data.sources, or "'
        f'{captions.AUGMENTED}" with short_templates of a source; got'
        f" {', '.join(unknown)}, among {', '.join(sorted(known)) or 'none'}"
      )
    for name, names in grammars.items():
      if names and {*names} <= {*self.leave_out}:
        checks.refuse(
          f"data.leave_out must leave a grammar of data.sources.{name}; got"
          f" {', '.join(names)}, which are all"
        )

  def context(
    self, name: str, section: str = "data.sources"
  ) -> source_config.SourceContext:
    """Return the context in which a format reads a source.

    Args:
      name: name of the source.
      section: field of the config that holds the source's section.
    """
    return source_config.SourceContext(
      name, pathlib.Path(self.cache_dir), self.image_size, section
    )


def make_train_dataset(
  config: DataConfig,
  *,
  batch_size: int,
  seed: int,
  opened: Opened | None = None,
  rows: Sequence[int] | None = None,
  with_labels: bool = False,
  classes: tuple[str, ...] = (),
  with_metadata: bool = False,
  tokenizer: tokenizers.Tokenizer | None = None,
  repeated: Mapping[tuple[int, int], faults.Fault] | None = None,
  clocks: clocks_lib.Clocks | None = None,
  fused: rows_lib.Rows | None = None,
) -> grain.IterDataset | workers.Dataset:
  """Return the endless training data of one of several processes.

  Yields {"images": uint8 [b, Y, X, 3], "tokens": int32 [b, L], "faults": list
  of faults.Fault}: those rows of each global batch that the process needs, all
  of them by default, and the examples that others took the place of. With
  data.augmentation.resize="naflex" images are patches, with "shapes", as many
  in each batch as its number draws from data.augmentation.patch_counts; with
  data.video they are uint8 [b, clips, T, Y, X, 3]. The global batch of a step
  (which examples, captions and crops, in which rows) depends on `seed` alone,
  not on the number of processes, workers or threads. Nor does an iterator's
  position: it is the same on all processes. With labels there is "labels" too,
  int32 [b], equal where captions are equal. With data.regions there are targets
  of a decoder, of RegionsConfig.shapes; with data.views there are those of
  ViewsConfig.shapes. Batches of a fused model have the
  arrays of training/objectives/fused.py: "groups" int32 [b] beside captions
  (asking/rows.group), or what Rows.arrays returns of questions.

  Args:
    config: checked.
    batch_size: rows of the global batch.
    seed: seed of the order, and of the random numbers of each example.
    opened: `open_sources`, where that has been done.
    rows: rows of the global batch that this process yields.
    with_labels: whether there are labels.
    classes: names that captions must be, whose numbers are the labels.
    with_metadata: whether "key", "source", "language", "caption" and "grammar"
      (the caption's provenance: the grammar that made it, "augmented" for a
      short text in a prompt, "" for one of the example's own) are there too,
      str [b]: for people, not with worker processes.
    tokenizer: tokenizer of the captions; None makes the config's.
    repeated: place -> fault of an earlier run that is to happen again.
    clocks: run while examples are made; batches have what `stages.pop` takes.
    fused: rows of a fused model, of fusing/fused_data.make_rows.
  """
  rows = range(batch_size) if rows is None else rows
  if not len(rows) or not 0 <= min(rows) <= max(rows) < batch_size:
    raise ValueError(f"rows must be of 0 to {batch_size - 1}; got {rows}")
  opened = open_sources(config) if opened is None else opened
  names = sorted(opened)  # a config's order must not matter
  tokenizer = tokenizer or make_tokenizer(config, opened)
  length = config.train_num_tokens or tokenizer.num_tokens
  sections = [config.sources[name] for name in names]
  make_example = examples.Maker(
    sources=tuple(
      examples.Source(
        name,
        opened[name],
        section.templates,
        filled.make(section, config.leave_out),
        section.short_templates,
        section.short_words,
        bool(section.question_fields),
      )
      for name, section in zip(names, sections, strict=True)
    ),
    languages=config.languages,
    max_caption_chars=config.max_caption_chars,
    image_size=config.image_size,
    augmentation=config.augmentation,
    tokenizer=tokenizer.of_length(length),
    with_labels=with_labels,
    classes=classes,
    seed=examples.example_seed(seed),
    batch_size=batch_size,
    repeated=repeated or {},
    with_metadata=with_metadata,
    cut_captions=config.cut_captions,
    leave_out=config.leave_out,
    clocks=clocks or clocks_lib.Clocks(),
    video=config.video,
    fused=fused,
    regions=region_rows.make(config.regions, tokenizer, config.vocab_size),
    views=config.views,
  )

  def shuffled(parts: Sequence[int], seed: int) -> grain.MapDataset:
    """Return sources, each as often as it says, in a new order each epoch."""
    lengths = [len(opened[names[i]]) for i in parts]
    repeats = [sections[i].repeat for i in parts]
    union = mixture.Union(parts, lengths, repeats)
    epoch = grain.MapDataset.source(union).seed(seed).shuffle()
    if len(union) > mixture.SHUFFLED_ONCE:
      epoch = epoch.shuffle()
    return epoch.repeat()

  # Everything up to to_iter_dataset is lazy: an element is computed when its
  # index is asked for, so the examples of other processes cost nothing.
  every = range(len(sections))
  weights = [section.weight for section in sections]
  if any(weights):
    streams = [
      shuffled([i], mixture.source_seed(seed, names[i])) for i in every
    ]
    order = grain.MapDataset.source(mixture.Weighted(streams, weights))
  else:
    order = shuffled(every, seed)
  draws = grain.MapDataset.source(mixture.Share(order, batch_size, tuple(rows)))
  if config.num_workers:
    return workers.Dataset(
      draws.batch(len(rows), drop_remainder=True, batch_fn=list),
      make_example,
      num_workers=config.num_workers,
      num_threads=config.num_threads,
      num_ahead=config.num_prefetch_batches,
    )
  return (
    draws.map(make_example)
    .batch(len(rows), drop_remainder=True, batch_fn=examples.stack)
    .to_iter_dataset(
      grain.ReadOptions(
        num_threads=config.num_threads,
        prefetch_buffer_size=config.num_prefetch_batches,
      )
    )
  )


def prepare(config: DataConfig) -> None:
  """Make every index and render every drawing that is not there yet.

  Raises ValueError for a config that does not fit the data, OSError for a
  folder that cannot be written, ModuleNotFoundError for a missing package.
  """
  open_sources(config)


def open_sources(config: DataConfig, share: float = 0.0) -> Opened:
  """Return what each source trains on; raises as `prepare` does.

  Args:
    config: section `data` of a config.
    share: evaluate.holdout, the share of each source that is left out.
  """
  return {
    name: split.rest for name, split in split_sources(config, share).items()
  }


def split_sources(config: DataConfig, share: float) -> dict[str, holdout.Split]:
  """Return what each source trains on, and what it holds out."""
  config.check()
  if config.video.is_on:
    video_lib.check_installed()
  made = {}
  for name, source in config.sources.items():
    made[name] = split_source(config, name, share)
    probe.check(
      *(name, source, made[name].rest, config.languages),
      decode=config.decoded_size,
    )
  return made


def split_source(config: DataConfig, name: str, share: float) -> holdout.Split:
  """Return what a source trains on, and what it holds out."""
  source, context = config.section(name), config.context(name)
  records = regional.open_split(source, source.split, context)
  if not len(records):
    raise ValueError(f"data.sources.{name} has no training examples")
  if source.subset:
    records = subset.select(records, source, context)
  if source.keep:
    records = balanced.select(records, source, context)
  return holdout.split(records, source, context, share)


def make_tokenizer(
  config: DataConfig, opened: Opened | None = None, *, share: float = 0.0
) -> tokenizers.Tokenizer:
  """Return the tokenizer, trained on the captions of `train` if need be.

  `vocab_size` of it is at most config.vocab_size. Raises FileNotFoundError or
  ValueError where config.tokenizer_path is not what the tokenizer reads.

  Args:
    config: section `data` of a config.
    opened: `open_sources`, where that has been done.
    share: evaluate.holdout, where that has not been done.
  """
  # Other tokenizers do not need the data; their missing file is named at once.
  if config.tokenizer not in tokenizers.TRAINED:
    opened = {}
  elif opened is None:
    opened = open_sources(config, share)
  facts = sorted((name, some.fingerprint()) for name, some in opened.items())
  digest = hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()

  wanted = {languages_lib.normalised(code) for code in config.languages}

  def texts() -> list[str]:
    # In a fixed order, so that a tie between merges falls the same way.
    return [
      text
      for name in sorted(opened)
      for record in _usable(opened[name])
      for language, texts in sorted(record.texts.items())
      if languages_lib.normalised(language) in wanted
      for text in texts
    ]

  return tokenizers.TOKENIZERS[config.tokenizer](
    texts,
    pathlib.Path(config.cache_dir) / "tokenizers" / digest,
    languages=config.languages,
    vocab_size=config.vocab_size,
    num_tokens=config.num_tokens,
    path=config.tokenizer_path,
  )


def _usable(records: record_lib.Records) -> Iterator[record_lib.Record]:
  for index in range(len(records)):
    with contextlib.suppress(faults.ExampleError):
      yield records[index]


def _check_languages(got: tuple[str, ...], known: Sequence[str] | None) -> None:
  """Raise ValueError for languages that are twice there, or not known."""
  codes = [languages_lib.normalised(code) for code in got]
  is_known = known is None or set(codes) <= set(known)
  if not codes or len(set(codes)) != len(codes) or not is_known:
    some = "codes of languages" if known is None else f"some of {list(known)}"
    checks.refuse(
      f"data.languages must be {some}, each once; got "
      f"{got if isinstance(got, str) else list(got)!r}"
    )

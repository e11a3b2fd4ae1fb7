"""The page of --task=inspect-data: one HTML file that loads nothing else."""

import collections
import dataclasses
import functools
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from input_pipeline import faults, ledger, pipeline
from input_pipeline.fusing import fused_data
from input_pipeline.inspecting import inspection
from input_pipeline.regions import region_probe
from models.fusion import fusion_config
from runtime import failures, progress, sections
from runtime.pages import page
from runtime.storage import whole_files

# Most bars of a chart, and most messages shown for a kind of fault.
_NUM_BARS = 40
_NUM_MESSAGES = 3


@dataclasses.dataclass(frozen=True)
class Bar:
  """One bar of a chart: whole numbers from `low` to below `high`."""

  low: int
  high: int
  count: int
  is_marked: bool

  @property
  def label(self) -> str:
    """Return the range of numbers that the bar counts."""
    last = self.high - 1
    return f"{self.low}" if last == self.low else f"{self.low}–{last}"


def write(
  path: pathlib.Path,
  config: pipeline.DataConfig,
  *,
  batch_size: int,
  seed: int,
  num_examples: int,
  as_json: bool = False,
  share: float = 0.0,
  phase: ledger.Phase = ledger.Phase(),
  fusion: fusion_config.FusionConfig | None = None,
) -> int:
  """Write the page of a run's data, print its path and a summary.

  Args:
    path: HTML file to write.
    config: data section of the run's config.
    batch_size: examples a step.
    seed: seed of the run.
    num_examples: examples to show.
    as_json: print JSON instead of text.
    share: evaluate.holdout, the share of each source that is left out.
    phase: phase of a run, whose examples are shown.
    fusion: section of a fused model, whose questions are shown; None for pairs.

  Returns:
    The exit code.

  Raises:
    RunError: `path` cannot be written.
    ValueError, OSError: the data cannot be used.
  """
  _check_path(path)
  opened = pipeline.open_sources(config, share)
  fused = None
  if fusion is not None:
    fused = fused_data.make_rows(fusion, config, opened=opened)
  total = sum(
    len(inspection.checked_indices(len(records))) for records in opened.values()
  )
  with progress.Progress("Checking examples", total) as bar:
    surveys = inspection.survey(config, opened, bar.advance)
  shown, replaced = inspection.first_examples(
    config,
    batch_size=batch_size,
    seed=seed,
    count=num_examples,
    opened=opened,
    phase=phase,
    fused=fused,
  )
  html = render(
    *(config, surveys, shown, replaced),
    batch_size=batch_size,
    seed=seed,
    probed=_probed(config, opened),
  )
  whole_files.write(path, html.encode())
  totals = figures(config, surveys)
  if as_json:
    print(json.dumps({"page": str(path), **totals}))
  else:
    print(f"{path}\n{summary(totals)}")
  return 0


def render(
  config: pipeline.DataConfig,
  surveys: Sequence[inspection.Survey],
  shown: Sequence[inspection.Shown],
  replaced: Sequence[faults.Fault],
  *,
  batch_size: int,
  seed: int,
  probed: Mapping[str, region_probe.Probed] | None = None,
) -> str:
  """Return the page; `probed` are the regions of the sources that have some."""
  num_ids = [n for one in surveys for n in one.num_ids]
  sides = [min(size) for one in surveys for size in one.sizes]
  return _template().render(
    figures=figures(config, surveys),
    surveys=surveys,
    shown=shown,
    shown_of=collections.Counter(example.source for example in shown),
    languages=collections.Counter(example.language for example in shown),
    lengths=bars(num_ids, marked=lambda low: low > config.num_tokens),
    sides=bars(
      sides,
      marked=lambda low: (
        low < config.image_size and not config.augmentation.is_naflex
      ),
    ),
    num_small=sum(side < config.image_size for side in sides),
    middle={"length": _median(num_ids), "side": _median(sides)},
    faults=_faults(surveys),
    replaced=replaced,
    probed=probed or {},
    num_probed=region_probe.NUM_PROBED,
    is_naflex=config.augmentation.is_naflex,
    data=config,
    fields=_fields(config),
    batch_size=batch_size,
    seed=seed,
  )


def figures(
  config: pipeline.DataConfig, surveys: Sequence[inspection.Survey]
) -> dict[str, Any]:
  """Return the page's totals, ready for JSON."""
  num_ids = [n for one in surveys for n in one.num_ids]
  return {
    "num_sources": len(surveys),
    "num_examples": sum(one.num_examples for one in surveys),
    "num_checked": sum(one.num_checked for one in surveys),
    "num_unusable": sum(len(one.faults) for one in surveys),
    "faults": dict(inspection.counted(surveys)),
    "num_captions": len(num_ids),
    "num_cut": sum(n > config.num_tokens for n in num_ids),
    "num_tokens": config.num_tokens,
    "max_bad_fraction": config.max_bad_fraction,
  }


def summary(figures: Mapping[str, Any]) -> str:
  """Return `figures` as a line for people."""
  cut = figures["num_cut"] / max(figures["num_captions"], 1)
  kinds = ", ".join(f"{n} {kind}" for kind, n in figures["faults"].items())
  return (
    f"{figures['num_examples']:,} examples in "
    f"{figures['num_sources']} source(s); of {figures['num_checked']} decoded, "
    f"{figures['num_unusable']} cannot be used{f' ({kinds})' if kinds else ''}"
    f"; {_percent(cut)} of captions are cut at {figures['num_tokens']} tokens"
  )


def bars(values: Sequence[int], *, marked: Any) -> list[Bar]:
  """Return a histogram of whole numbers, at most _NUM_BARS equal bars.

  `marked` maps a bar's lowest number to whether the bar is marked.
  """
  if not values:
    return []
  low, high = min(values), max(values) + 1
  width = -(-(high - low) // _NUM_BARS)
  edges = range(low, high + width, width)
  counts, _ = np.histogram(values, edges)
  return [
    Bar(start, start + width, int(count), marked(start))
    for start, count in zip(edges, counts, strict=False)
  ]


@functools.cache
def _template() -> jinja2.Template:
  return page.template(
    pathlib.Path(__file__).with_name("inspection.html.jinja"),
    {
      "picture": lambda image: page.data_url(Image.fromarray(image)),
      "number": "{:,.0f}".format,
      "percent": _percent,
      "median": _median,
      "bytes": _bytes,
    },
  )


def _faults(
  surveys: Sequence[inspection.Survey],
) -> list[dict[str, Any]]:
  entries = []
  for kind, count in inspection.counted(surveys).items():
    messages = [
      f"{one.name}: {message}"
      for one in surveys
      for other, message in one.faults
      if other == kind
    ]
    entries.append(
      {
        "kind": kind,
        "meaning": faults.KINDS[kind],
        "count": count,
        "messages": messages[:_NUM_MESSAGES],
      }
    )
  return entries


def _probed(
  config: pipeline.DataConfig, opened: pipeline.Opened
) -> dict[str, region_probe.Probed]:
  """Return the regions of sources that have some; {} without data.regions."""
  if not config.regions.is_on:
    return {}
  tokenizer = pipeline.make_tokenizer(config, opened)
  return {
    name: region_probe.probe(config.regions, opened[name], tokenizer)
    for name in sorted(opened)
    if config.sources[name].region_fields
  }


def _fields(config: pipeline.DataConfig) -> dict[str, str]:
  """Return the section's fields by their names in flags."""
  values = sections.flat(dataclasses.asdict(config), prefix="data.")
  return {name: repr(value) for name, value in values.items()}


def _percent(share: float) -> str:
  digits = 0 if share in (0, 1) else 1
  return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _median(values: Sequence[int]) -> int:
  return int(statistics.median(values)) if values else 0


def _bytes(count: int) -> str:
  return f"{count / 1e3:,.0f} kB" if count >= 10_000 else f"{count:,} B"


def _check_path(path: pathlib.Path) -> None:
  if path.is_dir():
    raise failures.RunError(
      "--out must be a file for --task=inspect-data, as"
      f" {path / 'inspect-data.html'}; got the folder {path}"
    )
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise failures.RunError(
      f"--out: the folder {path.parent} cannot be made ({error.strerror});"
      " give another file"
    ) from error

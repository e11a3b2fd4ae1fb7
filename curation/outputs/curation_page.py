"""curation.html: report of the pairs that each step kept and dropped.

The page is self-contained: survival, counts of entries and scores with their
cuts, languages, places and demographic terms before and after each step, and
samples with their pictures.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from PIL import Image

from curation import operators
from curation import pool as pool_lib
from curation.outputs import curation_charts, samples, shares_page
from input_pipeline import faults
from input_pipeline.images import image_ops
from runtime.pages import page
from runtime.storage import mirror

# Longer side of a picture in the page, in pixels.
_PICTURE = 160
# Shown characters of a caption.
_CAPTION = 200
_TITLES = {"kept": "Kept", "dropped": "Dropped"}


def write(
  copy: mirror.Mirror,
  manifest: Mapping[str, Any],
  pool: pool_lib.Pool,
  run: operators.RunFn,
) -> None:
  """Write curation.html, whole or not at all.

  Args:
    copy: folder of a finished curation, with signals/.
    manifest: content of manifest.json.
    pool: pool that samples are read from.
    run: function that maps a function over the shards.
  """
  names = [step["name"] for step in manifest["steps"]]
  signals = copy.local / "signals"
  paths = sorted(signals.glob("*.parquet"))
  parts = run(functools.partial(samples.of_shard, steps=names), paths)
  drawn = samples.merge(parts)
  shown = samples.read(drawn, pool, signals)
  page_text = render(manifest, drawn, shown)
  copy.write(copy.local / "curation.html", page_text.encode())


def render(
  manifest: Mapping[str, Any],
  drawn: samples.Drawn,
  shown: Mapping[samples.Sample, Mapping[str, Any]],
) -> str:
  """Return the page."""
  steps = manifest["steps"]
  return _template().render(
    manifest=manifest,
    steps=steps,
    charts=[
      chart
      for step in steps
      for chart in curation_charts.draw(step["name"], step["facts"])
    ],
    languages=_languages(steps),
    shares=shares_page.panels(manifest),
    shares_notes=shares_page.notes(manifest) if "shares" in manifest else [],
    shares_sources=manifest.get("shares", {}).get("sources", []),
    galleries=[
      {
        "name": step["name"],
        "sides": [
          (_TITLES[side], [_card(s, shown[s]) for s in sampled if s in shown])
          for side, sampled in zip(_TITLES, drawn[step["name"]], strict=True)
        ],
      }
      for step in steps
      if step["name"] in drawn and step["kept"] < step["in"]
    ],
  )


@functools.cache
def _template() -> jinja2.Template:
  return page.template(
    pathlib.Path(__file__).with_name("curation.html.jinja"),
    {
      "number": "{:,.0f}".format,
      "percent": _percent,
      "value": lambda x: f"{x:.4g}" if isinstance(x, float) else str(x),
      "share": _share,
      "points": lambda x: f"{100 * x:+.2f}".replace("-", "\N{MINUS SIGN}"),
      "figure": lambda x: f"{x:,}" if isinstance(x, int) else f"{x:,.3g}",
    },
  )


def _languages(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Return tables of `facts["languages"]`: {language: {column: number}}."""
  tables = []
  for step in steps:
    rows = step["facts"].get("languages")
    if rows:
      columns = list(
        dict.fromkeys(name for row in rows.values() for name in row)
      )
      tables.append({"step": step["name"], "columns": columns, "rows": rows})
  return tables


def _card(sample: samples.Sample, fields: Mapping[str, Any]) -> dict[str, Any]:
  text = fields.get("text") or ""
  if len(text) > _CAPTION:
    text = f"{text[:_CAPTION]}…"
  size = ""
  if fields.get("width") and fields.get("height"):
    size = f"{fields['width']} × {fields['height']}"
  return {
    "uid": sample.uid,
    "text": text,
    "picture": _picture(fields.get("image")),
    "size": size,
    "language": fields.get("language") or "",
    "signals": fields["signals"],
  }


def _picture(data: bytes | None) -> str:
  """Return a data: URL, "" without a readable picture."""
  if not data:
    return ""
  try:
    image = Image.fromarray(image_ops.decode(data))
  except faults.ExampleError:
    return ""
  image.thumbnail((_PICTURE, _PICTURE))
  return page.data_url(image)


def _share(share: float) -> str:
  digits = 1 if share >= 0.01 else 2
  return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _percent(share: float) -> str:
  digits = 0 if share in (0, 1) else 1 if share >= 0.001 else 4
  return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"

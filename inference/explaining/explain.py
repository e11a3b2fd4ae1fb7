"""Heat maps of images for texts: what makes an image like a text.

  OUT/explain.json       model, method, and for each map its similarity, range,
                         scale of colours and files
  OUT/report.html        pictures and maps, to look at
  OUT/maps/N-NAME-T.png  image N, with its map for text T and a legend
  OUT/maps/N-NAME-T.npy  the map: float32, a value for each pixel, not scaled

With --regions, explain.json has how well maps find them; see regions.py.

An image is what the model sees of it: resized and cropped by its protocol.
Files that are no image are left out and named.
"""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluators import embedding_cache
from inference import image_files
from inference import model as model_lib
from inference.embeddings import embed
from inference.explaining import explain_page, heat_maps, heat_pictures
from inference.explaining import regions as regions_lib
from input_pipeline import faults, model_inputs
from input_pipeline.images import image_ops, picture
from runtime import checks, progress, provenance
from runtime.storage import (
  bucket_path,
  strict_json,
  unfinished,
  whole_files,
)

FACTS = "explain.json"
PAGE = "report.html"
MAPS = "maps"
# Files left out that the summary names.
_NUM_NAMED = 3


def run(
  path: str,
  *,
  images: str,
  texts: str,
  method: str,
  out: str,
  batch_size: int,
  regions: str = "",
  as_json: bool = False,
) -> int:
  """Explain images with the model at `path`; write the folder `out`.

  Args:
    path: run or published model, as `model.load` takes it.
    images: patterns as `image_files.find` takes them, separated by commas.
    texts: texts, separated by commas, or a file of them as `embed.read_texts`
      takes it.
    method: key of heat_maps.METHODS.
    out: folder to write, new or empty.
    batch_size: most images that are embedded at once.
    regions: file of the regions that texts are about, as `regions.read` takes
      it; "" for none.
    as_json: print explain.json instead of lines.

  Raises:
    ValueError: a flag is wrong, the model has no such maps, or no file is an
      image.
  """
  for flag, value, example in (
    ("images", images, "FILES"),
    ("texts", texts, '"a cat,a dog"'),
    ("out", out, "FOLDER"),
  ):
    if not value:
      raise ValueError(f"--{flag} is missing: --{flag}={example}")
  checks.one_of("--method", method, heat_maps.METHODS)
  checks.at_least("--batch_size", batch_size, 1)
  if regions and method == heat_maps.TILES:
    raise ValueError(
      "--regions must be '' with --method=tiles, whose maps are of the whole"
      f" picture, not of what the model sees; got {regions!r}"
    )
  folder = bucket_path.make(out)
  unfinished.check_free(folder)
  paths = find_images(images)
  lines = read_texts(texts)
  model = model_lib.load(path)
  for name, tower in (
    ("image", model.config.image),
    ("text", model.config.text),
  ):
    if tower is None:
      raise ValueError(f"--task=explain: {path} has no {name} tower")
  heat_maps.check(method, model.config)
  chosen = heat_maps.METHODS[method]
  inputs = model.make_inputs()
  embedder = model.make_embedder(batch_size)
  found = regions_lib.read(
    regions,
    paths,
    lines,
    lambda pixels: model_inputs.as_seen(inputs.image_protocol, pixels),
  )
  ztxt_TE = embedder.texts(model.params, inputs.tokenizer(lines))
  records: list[dict[str, Any]] = []
  left_out: list[dict[str, str]] = []
  shown: list[explain_page.Shown] = []
  with unfinished.whole(folder) as made:
    (made / MAPS).mkdir()
    is_tiled = method == heat_maps.TILES
    steps = [
      _num_tiles(inputs.image_protocol, file) if is_tiled else 1
      for file in paths
    ]
    label = "Explaining tiles" if is_tiled else "Explaining images"
    with progress.Progress(label, sum(steps)) as bar:
      maps_fn = heat_maps.make_fn(
        *(method, model, inputs.image_protocol, batch_size), bar.advance
      )
      for number, (file, num_steps) in enumerate(
        zip(paths, steps, strict=True), 1
      ):
        try:
          image_YXC = _read_image(method, inputs.image_protocol, file)
          maps = maps_fn(image_YXC, ztxt_TE)
          if maps.image_YXC is not None:
            image_YXC = maps.image_YXC
        except faults.ExampleError as error:
          left_out.append(
            {"path": str(file), "kind": error.kind, "message": str(error)}
          )
          bar.advance(num_steps)
        else:
          name = f"{number:0{len(str(len(paths)))}d}-{_plain(file.stem)}"
          scales = [
            heat_pictures.scale_of(map_YX, from_zero=chosen.from_zero)
            for map_YX in maps.map_TYX
          ]
          record = {
            "path": str(file),
            "size": list(image_YXC.shape[:2]),
            "constants": maps.constants,
            "maps": _records(maps, scales, (name, lines, model)),
          }
          for text, map_YX, one in zip(
            lines, maps.map_TYX, record["maps"], strict=True
          ):
            if (file, text) in found:
              one["localisation"] = regions_lib.judge(map_YX, found[file, text])
          _write(made, image_YXC, maps, (record, scales, chosen))
          records.append(record)
          if len(shown) < explain_page.NUM_SHOWN:
            shown.append(
              explain_page.Shown(record, image_YXC, maps.map_TYX, scales)
            )
          if not is_tiled:
            bar.advance()
    if not records:
      raise ValueError(
        f"--images: none of {len(paths)} files is an image; the first:"
        f" {left_out[0]['path']}: {left_out[0]['message']}"
      )
    facts = {
      "model": {
        "path": path,
        "family": model.family,
        "step": model.step,
        "digest": embedding_cache.model_digest(model.config, model.params),
        "dtype": model.config.dtype,
        "scale": model.scale,
        "bias": model.bias,
        **inputs.facts(),
        "versions": provenance.versions(),
      },
      "method": {
        "name": method,
        "source": chosen.source,
        "unit": chosen.unit,
        "constants": chosen.constants,
        "none": chosen.none,
        "colours": heat_pictures.COLOURS,
      },
      "texts": lines,
      "images": records,
      "left_out": left_out,
    }
    if localised := regions_lib.summary(records):
      facts["localisation"] = localised
    text = strict_json.dumps(facts, indent=2)
    whole_files.write(made / FACTS, f"{text}\n".encode())
    page = explain_page.render(folder.name, facts, shown)
    whole_files.write(made / PAGE, page.encode())
  print(text if as_json else _summary(folder, facts, images))
  return 0


def find_images(value: str) -> list[pathlib.Path]:
  """Return the files of --images, each once, in the order of the patterns.

  Commas separate patterns but in braces, and in the name of a path that exists.

  Raises:
    ValueError: a pattern names no file.
  """
  parts = [value]
  if not pathlib.Path(value).expanduser().exists():
    parts = re.split(r",(?![^{}]*\})", value)
  names = [part.strip() for part in parts if part.strip()]
  found = [file for name in names for file in image_files.find(name)]
  if not found:
    raise ValueError(f"--images={value} names no file")
  return list(dict.fromkeys(found))


def read_texts(value: str) -> list[str]:
  """Return the texts of --texts, each once: of a file's lines, or as written.

  Raises:
    ValueError: there is none, or the file cannot be read.
  """
  path = pathlib.Path(value)
  if path.is_file():
    lines = embed.read_texts(path)
  elif path.suffix == ".txt":
    raise ValueError(f"--texts={value} is no file; expected one text a line")
  else:
    lines = [text.strip() for text in value.split(",")]
    if "" in lines:
      raise ValueError(
        f'--texts must be texts such as "a cat,a dog", or a file; got {value!r}'
      )
  return list(dict.fromkeys(lines))


def _records(
  maps: heat_maps.Maps,
  scales: Sequence[heat_pictures.Scale],
  context: tuple[str, Sequence[str], model_lib.Model],
) -> list[dict[str, Any]]:
  """Return the record of each text's map, for explain.json."""
  name, texts, model = context
  records = []
  for t, (text, scale) in enumerate(zip(texts, scales, strict=True)):
    map_YX, sim = maps.map_TYX[t], float(maps.sim_T[t])
    record: dict[str, Any] = {
      "text": text,
      "similarity": sim,
      "logit": model.scale * sim + model.bias,
      "lowest": float(map_YX.min()),
      "highest": float(map_YX.max()),
      "drawn": [scale.low, scale.high],
      "picture": f"{MAPS}/{name}-{t + 1}.png",
      "array": f"{MAPS}/{name}-{t + 1}.npy",
    }
    if len(maps.sim_MT):
      sim_M = maps.sim_MT[:, t]
      record["similarity_of_crops"] = [float(sim_M.min()), float(sim_M.max())]
    records.append(record)
  return records


def _write(
  folder: pathlib.Path,
  image_YXC: np.ndarray,
  maps: heat_maps.Maps,
  context: tuple[
    Mapping[str, Any], Sequence[heat_pictures.Scale], heat_maps.Method
  ],
) -> None:
  """Write the map of each text, and its picture."""
  image, scales, method = context
  for record, map_YX, scale in zip(
    image["maps"], maps.map_TYX, scales, strict=True
  ):
    with whole_files.replacing(folder / record["array"]) as file:
      np.save(file, np.asarray(map_YX, np.float32))
    none = "" if scale.high > scale.low else f": {method.none}"
    facts = [
      f"cosine similarity {record['similarity']:.4f}; values"
      f" {record['lowest']:.4g} to {record['highest']:.4g}{none}",
      f"colours: {method.unit}",
    ]
    sheet = heat_pictures.sheet(
      image_YXC, map_YX, scale, title=record["text"], lines=facts
    )
    with whole_files.replacing(folder / record["picture"]) as file:
      sheet.save(file, "PNG", optimize=True)


def _read_image(
  method: str, protocol: model_inputs.Protocol, path: pathlib.Path
) -> np.ndarray:
  """Return an image as the model sees it; of NaFlex whole and resized.

  For maps by tiles it is the whole picture in its own pixels.

  Raises:
    faults.ExampleError: the file is no image.
  """
  try:
    pixels = image_ops.decode(path.read_bytes())
    if method == heat_maps.TILES:
      return pixels
    return model_inputs.as_seen(protocol, pixels)
  except faults.ExampleError:
    raise
  except OSError as error:
    raise faults.ExampleError("read_failed", str(error)) from error
  except ValueError as error:  # too long for the protocol
    raise faults.ExampleError("image_too_large", str(error)) from error


def _num_tiles(protocol: model_inputs.Protocol, path: pathlib.Path) -> int:
  """Return the number of tiles of an image; 1 for a file that is none."""
  try:
    return heat_maps.num_tiles(protocol, *picture.size(path.read_bytes()))
  except (OSError, faults.ExampleError):
    return 1


def _plain(stem: str) -> str:
  """Return a part of a file's name that any system can hold."""
  return re.sub(r"[^\w.-]+", "_", stem)[:60] or "image"


def _summary(
  folder: pathlib.Path, facts: Mapping[str, Any], images: str
) -> str:
  lines = []
  for image in facts["images"]:
    sims = ", ".join(
      f"{one['text']} {one['similarity']:.3f}" for one in image["maps"]
    )
    lines.append(f"{image['path']}: {sims}")
  if left_out := facts["left_out"]:
    named = "; ".join(
      f"{one['path']}: {one['kind']}: {one['message']}"
      for one in left_out[:_NUM_NAMED]
    )
    lines.append(
      f"Left out, {len(left_out)} of {len(left_out) + len(facts['images'])}"
      f" images (all are named in {folder / FACTS}): {named}"
    )
  if "localisation" in facts:
    lines.append(regions_lib.line(facts["localisation"]))
  lines += image_files.unread(images)
  return "\n".join([*lines, f"Page: {folder / PAGE}"])

"""Shards of embeddings in the layout of clip-retrieval.

img_emb/img_emb_N.npy           float16 or float32 [n, E], rows of length 1
text_emb/text_emb_N.npy         of the caption of each row, or of texts alone
metadata/metadata_N.parquet     row k: image_path and caption of row k of shard
                                N; written last of the three

N has as many digits as clip-retrieval gives it. A shard stands for a range of
the inputs, less those that are left out. Process k of P makes the shards N with
N mod P = k, on its own devices; what a kill leaves is gone on with.
"""

import contextlib
import io
import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import pyarrow as pa
import pyarrow.parquet as pq

from inference.embeddings import folders, jobs, part_files
from runtime import cluster, progress
from runtime import mesh as mesh_lib
from runtime.storage import strict_json, unfinished, whole_files

# Inputs of a shard: 16 MB of 512 float16 a row.
SHARD_ROWS = 16_384
FOLDERS = (
  folders.IMAGES,
  folders.TEXTS,
  folders.METADATA,
)
_DONE = "embed-shards/"
_WAIT_SECONDS = 0.5

Finish = Callable[
  [pathlib.Path, Mapping[str, Any], Sequence[Mapping[str, Any]]],
  dict[str, Any],
]


def own_mesh() -> jax.sharding.Mesh | None:
  """Return the mesh of this process's devices; None for that of all."""
  if cluster.count() == 1:
    return None
  config = mesh_lib.MeshConfig(-1, 1, 1)
  return mesh_lib.make_mesh(config, jax.local_devices())


def write(
  folder: pathlib.Path,
  job: jobs.Job,
  shard_rows: int,
  dtype: str,
  finish: Finish,
) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]]:
  """Write the shards that are missing; return embed.json and what is left out.

  Args:
    folder: new, or begun with the same inputs.
    job: model and inputs.
    shard_rows: inputs of a shard.
    dtype: of the embeddings.
    finish: writes the folder's last files and returns embed.json.

  Raises:
    ValueError: no picture can be used.
    RunError: the folder was begun with other inputs, or is in use.
  """
  work = folder / jobs.UNFINISHED
  num_inputs = len(job.lines) if job.found is None else len(job.found)
  num_shards = -(-num_inputs // shard_rows)
  shards = [
    _Shard(folder, number, num_shards, shard_rows, num_inputs)
    for number in range(num_shards)
  ]
  own = shards[cluster.index() :: cluster.count()]
  with contextlib.ExitStack() as stack:

    def begin() -> None:
      if cluster.is_first():
        stack.enter_context(unfinished.resumed(work, f"--out={folder}"))
        layout = {"layout": "shards", "shard_rows": shard_rows, "dtype": dtype}
        jobs.check_key(work, folder, job, **layout)

    cluster.together(begin)
    noun = "texts" if job.found is None else "images"
    total = sum(len(shard.inputs) for shard in own)
    with progress.Progress(f"Embedding {noun}", total) as bar:
      for shard in own:
        shard.make(work, job, dtype, bar)
    if not _all_done():
      return {}, ()
    left_out = [line for shard in shards for line in shard.left_out(work)]
    num_rows = sum(shard.num_rows() for shard in shards)
    if not num_rows:
      raise jobs.no_image(left_out, num_inputs)
    facts = {
      **job.facts,
      "layout": "shards",
      "dtype": dtype,
      "num_shards": num_shards,
      "num_images": 0 if job.found is None else num_rows,
    }
    if job.needs_caption:
      facts["num_texts"] = num_rows
    made = finish(folder, facts, left_out)
  return made, left_out


def _all_done() -> bool:
  """Tell that this process is done; return whether this is process 0.

  Process 0 returns when all are done. Where one fails or is lost, the cluster
  ends all of them.
  """
  if cluster.count() == 1:
    return True
  cluster.put(f"{_DONE}{cluster.index()}", "done")
  if not cluster.is_first():
    return False
  while len(cluster.all_put(_DONE)) < cluster.count():
    time.sleep(_WAIT_SECONDS)
  return True


class _Shard:
  """One shard.

  Attributes:
    inputs: numbers of its pictures or texts.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    number: int,
    num_shards: int,
    shard_rows: int,
    num_inputs: int,
  ):
    start = number * shard_rows
    self.inputs = range(start, min(start + shard_rows, num_inputs))
    # Digits as clip-retrieval's writer makes them.
    self._name = f"{number:0{int(math.log10(num_shards)) + 1}d}"
    self._folder = folder

  def make(
    self,
    work: pathlib.Path,
    job: jobs.Job,
    dtype: str,
    bar: progress.Progress,
  ) -> None:
    """Write the shard's files, unless they are there."""
    if self._path("metadata", ".parquet").exists():
      bar.advance(len(self.inputs))
      return
    parts = work / self._name
    if job.found is None:
      texts = job.lines[self.inputs.start : self.inputs.stop]
      self._write_texts(parts, job, texts, dtype, bar)
      columns = {folders.CAPTION: texts}
    else:
      made = jobs.embed_pictures(parts / "images", job, self.inputs, bar)
      embed_dim = job.model.config.embed_dim
      part_files.join(made, self._made("img_emb"), embed_dim, dtype)
      about = part_files.about(made)
      columns = {folders.PATH: [x["name"] for x in about]}
      if any("caption" in x for x in about):
        columns[folders.CAPTION] = [x.get("caption") for x in about]
      if job.needs_caption:
        texts = [x["caption"] for x in about]
        self._write_texts(parts, job, texts, dtype, None)
      lines = part_files.left_out(made)
      if lines:
        text = strict_json.dumps(lines)
        whole_files.write(self._left_out(work), text.encode())
    table = pa.table(
      {name: pa.array(x, pa.string()) for name, x in columns.items()}
    )
    memory = io.BytesIO()
    pq.write_table(table, memory)
    whole_files.write(self._made("metadata", ".parquet"), memory.getvalue())
    whole_files.delete_folder(parts)

  def _write_texts(
    self,
    parts: pathlib.Path,
    job: jobs.Job,
    texts: Sequence[str],
    dtype: str,
    bar: progress.Progress | None,
  ) -> None:
    start = self.inputs.start
    made = jobs.embed_texts(parts / "texts", job, texts, start, bar)
    embed_dim = job.model.config.embed_dim
    part_files.join(made, self._made("text_emb"), embed_dim, dtype)

  def num_rows(self) -> int:
    """Return the number of rows that were written."""
    data = self._path("metadata", ".parquet").read_bytes()
    return pq.read_metadata(io.BytesIO(data)).num_rows

  def left_out(self, work: pathlib.Path) -> list[dict[str, Any]]:
    """Return the lines about the shard's pictures that are left out."""
    path = self._left_out(work)
    return json.loads(path.read_text()) if path.exists() else []

  def _left_out(self, work: pathlib.Path) -> pathlib.Path:
    return work / f"left_out_{self._name}.json"

  def _path(self, kind: str, suffix: str = ".npy") -> pathlib.Path:
    return self._folder / kind / f"{kind}_{self._name}{suffix}"

  def _made(self, kind: str, suffix: str = ".npy") -> pathlib.Path:
    path = self._path(kind, suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path

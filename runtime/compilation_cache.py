"""Cache of compiled programs on disk, so that a second run starts faster."""

import os
import pathlib
import tempfile

import jax

from runtime.storage import bucket_path

FOLDER = ".jax_cache"


def folder(workdir: pathlib.Path) -> pathlib.Path:
  """Return the folder for compiled programs of all runs beside `workdir`.

  For a folder in a bucket it is below the machine's temporary folder: JAX would
  ask the bucket for each program that it compiles.
  """
  if isinstance(workdir, bucket_path.BucketPath):
    return pathlib.Path(tempfile.gettempdir()) / f"{FOLDER}-{os.getuid()}"
  return workdir.resolve().parent / FOLDER


def enable(workdir: pathlib.Path) -> None:
  """Keep compiled programs beside `workdir`, for all runs there.

  A folder set earlier (JAX_COMPILATION_CACHE_DIR, or jax_compilation_cache_dir
  in the program) is kept, and so is JAX_ENABLE_COMPILATION_CACHE=false.

  Safe with several processes: only the first process of a job writes, and a
  file that another job has half written is a miss with a warning.

  Args:
    workdir: folder of the run; need not exist yet.
  """
  # getattr, since JAX adds its options as attributes at run time.
  if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
    programs = folder(workdir)
    if isinstance(workdir, bucket_path.BucketPath):
      programs.mkdir(mode=0o700, exist_ok=True)
      if programs.stat().st_uid != os.getuid():
        return  # programs of another user are not run
    jax.config.update("jax_compilation_cache_dir", str(programs))

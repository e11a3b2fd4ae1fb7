"""Compiled programs kept on disk, so that a second run starts faster."""

import pathlib

import jax

FOLDER = ".jax_cache"


def enable(workdir: pathlib.Path) -> None:
  """Keep compiled programs beside `workdir`, for all runs there.

  A place that was already chosen (JAX_COMPILATION_CACHE_DIR, or
  jax_compilation_cache_dir in the program) is left as it is, and so is
  JAX_ENABLE_COMPILATION_CACHE=false.

  Safe with several processes: of one job only the first writes, and a file of
  which another job has written half is a miss with a warning.

  Args:
    workdir: of the run; need not exist yet.
  """
  # JAX makes its options attributes at run time.
  if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
    folder = workdir.resolve().parent / FOLDER
    jax.config.update("jax_compilation_cache_dir", str(folder))

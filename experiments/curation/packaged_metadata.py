"""MetaCLIP's metadata of packages, for curations of icons."""

import pathlib

from experiments.parts import main_process


def flags_of(folder: pathlib.Path) -> list[str]:
  """Return the flags of a curation by metaclip.py that reads the metadata.

  Args:
    folder: folder of the metadata, which are made if they are not there.
  """
  if not (folder / "metadata.json").exists():
    main_process.run(
      *("--task=metadata", f"--out={folder}"),
      "--config=configs/curate/metadata.py:packages",
    )
  return [
    f"--config.steps.{step}.metadata={folder}/en.txt"
    for step in ("match", "balance", "balanced")
  ]

"""Message about a set that is not there: its files, their origin and folder.

Nothing is downloaded: the message has the command that does.
"""

from evaluators.sets import clip_benchmark, datacomp, disk, wds
from runtime.storage import remote

_HUB = "https://huggingface.co/datasets"
# Sets with captions, and no classes.
_RETRIEVAL = (*clip_benchmark.SUITES["retrieval"], *datacomp.RETRIEVAL)


def message(key: str, data_root: str, split: str = wds.SPLIT) -> str:
  """Return the lines that say how a set comes to be below a folder.

  Args:
    key: key of a set, of clip_benchmark.known().
    data_root: folder of all sets.
    split: folder of the tars.
  """
  root = data_root.rstrip("/")
  folders = [*clip_benchmark.folders(key), *disk.folders(key)]
  looked = ", ".join(folders)
  lines = [f"{key} is not below {root}: looked for the folders {looked}"]
  repositories = clip_benchmark.repositories(key)
  wds_only = [name for name in repositories if "/wds_" in name]
  if wds_only:
    name = wds_only[0]
    texts = [wds.CLASSES, wds.TEMPLATES]
    if key in _RETRIEVAL:
      texts = [wds.TYPE]
    files = ", ".join([*texts, f"{split}/{wds.SHARDS}", f"{split}/*.tar"])
    folder = name.partition("/")[2]
    local, then = f"{root}/{folder}", ""
    if remote.is_remote(root):
      local, then = folder, f", then copy {folder} to {root}/"
    lines.append(
      f"its files ({files}) are at {_HUB}/{name}: hf download {name} "
      f"--repo-type dataset --local-dir {local}{then}"
    )
  form = disk.origin(key)
  if form:
    lines.append(f"{'or' if wds_only else 'its files are'} {form}")
  return "\n    ".join(lines)

"""Checkpoints on their way between the disk and a bucket at s3://.

Where all processes share a temporary folder, Orbax writes one checkpoint there
and process 0 uploads it. Several machines share none: each process has a folder
of its own, in which Orbax writes a file for each piece of an array (no OCDBT,
whose files would have to be merged), and uploads its pieces. Process 0 commits
after the last.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Collection

from runtime import cluster
from runtime.storage import bucket_path, committed

_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")


class Staging(contextlib.ExitStack):
  """Temporary folder of this process, or of all on one machine.

  Attributes:
    local: folder that Orbax writes to and reads from.
    is_shared: whether it is that of all processes.
  """

  def __init__(self, bucket: bucket_path.BucketPath, *, keep: int | None):
    """Make the folder; collective.

    Args:
      bucket: folder with one subfolder a step.
      keep: number of newest steps that an upload leaves; None for a reader.
    """
    super().__init__()
    self._bucket, self._keep = bucket, keep
    self._num_uploads = 0
    disks = cluster.gather(_disk)
    # Process that downloads for all that share its disk.
    self._leader = disks.index(disks[cluster.index()])
    self.is_shared = len(set(disks)) == 1
    is_owner = cluster.is_first() or not self.is_shared
    folders = cluster.gather(
      lambda: str(self.enter_context(committed.staging())) if is_owner else ""
    )
    self._leaders = pathlib.Path(folders[self._leader])
    self.local = pathlib.Path(folders[cluster.index()] or folders[0])
    if keep is not None:
      cluster.on_first(lambda: committed.delete_unfinished(bucket))

  def steps(self) -> list[int]:
    """Return the steps that are whole in the bucket, oldest first."""
    return sorted(
      int(name) for name in committed.names(self._bucket) if name.isdecimal()
    )

  def upload(self, step: int) -> None:
    """Move a step that Orbax has written to the bucket; no collective.

    Each process calls it in a thread. It returns after the commit where there
    are several machines.

    Raises:
      objects.BucketError: an object of this process could not be written.
      cluster.ClusterError: another process failed.
    """
    local, folder = self.local / str(step), self._bucket / str(step)
    if not self.is_shared:
      self._upload_parts(local, folder)
    elif cluster.is_first():
      committed.upload(local, folder)
    if cluster.is_first():
      self._delete_old()
    if cluster.is_first() or not self.is_shared:
      shutil.rmtree(local, ignore_errors=True)

  def _upload_parts(
    self, local: pathlib.Path, folder: bucket_path.BucketPath
  ) -> None:
    self._num_uploads += 1
    name = f"upload/{self._num_uploads}"

    def commit() -> None:
      committed.upload_files(local, folder)
      for process in range(1, cluster.count()):
        cluster.hear(f"{name}/{process}", process)
      committed.commit(local, folder)

    if cluster.is_first():
      cluster.tell(f"{name}/begin", lambda: committed.delete(folder))
      cluster.tell(f"{name}/end", commit)
      return
    cluster.hear(f"{name}/begin", 0)
    # Other files are the same in all processes.
    cluster.tell(
      f"{name}/{cluster.index()}",
      lambda: committed.upload_files(local, folder, _is_piece),
    )
    cluster.hear(f"{name}/end", 0)

  def _delete_old(self) -> None:
    assert self._keep is not None, "a reader saves nothing"
    for old in self.steps()[: -self._keep]:
      committed.delete(self._bucket / str(old))

  def download(self, step: int, wanted: Collection[str]) -> None:
    """Copy folders of a step to the disk, once for each machine; collective."""
    name = str(step)
    source, local = self._leaders / name, self.local / name

    def fetch() -> None:
      if self._leader == cluster.index():
        committed.download(self._bucket / name, source, wanted)

    cluster.together(fetch)
    if local != source:
      local.symlink_to(source)

  def discard(self, step: int) -> None:
    """Delete the copy of a step on the disk; collective."""
    local = self.local / str(step)

    def delete() -> None:
      if local.is_symlink():
        local.unlink()
      elif self._leader == cluster.index():
        shutil.rmtree(local, ignore_errors=True)

    cluster.together(delete)


def _disk() -> str:
  """Return a name that is equal on processes with one temporary folder."""
  boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
  stat = os.stat(tempfile.gettempdir())
  return f"{boot} {stat.st_dev} {stat.st_ino}"


def _is_piece(name: str) -> bool:
  """Return whether a file is a piece of an array: zarr's "NAME/c/0/0"."""
  return "c" in name.split("/")[1:]

"""Objects are written by precondition, and requests are tried again."""

import concurrent.futures
import gc
import time

import pytest

from runtime.storage import bucket_path, objects, whole_files
from tests import bucket_emulators as emulators


def test_a_write_names_the_version_that_it_replaces(folder):
  url = str(folder / "a")
  assert objects.read(url) is None
  assert objects.version(url) == objects.ABSENT
  first = objects.write(url, b"1", replaces=objects.ABSENT)
  # The emulator refuses both wrong preconditions, by the same call.
  for wrong in (objects.ABSENT, "12345"):
    with pytest.raises(objects.ConflictError, match="by another process"):
      objects.write(url, b"2", replaces=wrong)
  stored = objects.read(url)
  assert (stored.data, stored.version) == (b"1", first)
  assert objects.version(url) == first
  second = objects.write(url, b"2", replaces=first)
  assert objects.read(url).data == b"2"
  with pytest.raises(objects.ConflictError):
    objects.write(url, b"3", replaces=first)
  assert objects.version(url) == second != first


def test_an_object_that_is_gone_is_not_replaced(folder):
  url = str(folder / "a")
  version = objects.replace(url, b"1")
  objects.delete([url, url])
  with pytest.raises(objects.ConflictError):
    objects.write(url, b"2", replaces=version)
  assert objects.read(url) is None


def test_one_of_many_writers_wins(folder):
  url = str(folder / "a")

  def write(number: int) -> bool:
    try:
      objects.write(url, b"%d" % number, replaces=objects.ABSENT)
    except objects.ConflictError:
      return False
    return True

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    won = list(pool.map(write, range(8)))
  assert sum(won) == 1
  assert objects.read(url).data == b"%d" % won.index(True)


def test_sizes_and_copies(folder, tmp_path):
  data = {"a/b": b"1", "a/c/d": b"23", "ab": b"456", "a space/ü": b""}
  for value in data.values():
    (tmp_path / "local").mkdir(exist_ok=True)
    (tmp_path / "local" / str(len(value))).write_bytes(value)
  objects.upload(
    (str(tmp_path / "local" / str(len(value))), str(folder / name))
    for name, value in data.items()
  )
  sizes = {name: len(value) for name, value in data.items()}
  assert objects.sizes(str(folder)) == sizes
  assert objects.sizes(str(folder / "a")) == {"b": 1, "c/d": 2}
  assert objects.sizes(str(folder / "none")) == {}
  assert objects.has_any(str(folder / "a"))
  assert not objects.has_any(str(folder / "a/b"))  # an object, no folder
  objects.copy([(str(folder / "ab"), str(folder / "copy"))])
  objects.download([(str(folder / "copy"), str(tmp_path / "down"))])
  assert (tmp_path / "down").read_bytes() == b"456"


@pytest.mark.slow
def test_a_reply_that_was_lost_is_no_conflict(folder, proxy):
  url = str(folder / "a")
  proxy.mode, proxy.only = "lost", "PUT" if url.startswith("s3") else "POST"
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    write = pool.submit(objects.write, url, b"1", replaces=objects.ABSENT)
    while not proxy.num_disturbed:
      time.sleep(0.01)
    proxy.mode = "pass"
    assert write.result() == objects.version(url)
  assert objects.read(url).data == b"1"


@pytest.mark.slow
def test_an_error_of_the_store_is_tried_again(folder, proxy):
  proxy.mode = "503"
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    write = pool.submit(objects.replace, str(folder / "a"), b"1")
    while proxy.num_disturbed < 2:
      time.sleep(0.01)
    proxy.mode = "pass"
    write.result()
  assert objects.read(str(folder / "a")).data == b"1"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["silent", "503", "closed"])
def test_a_bucket_that_vanishes_is_given_up(folder, proxy, monkeypatch, mode):
  url = str(folder / "a")
  objects.replace(url, b"1")
  monkeypatch.setattr(objects, "TRY_SECONDS", 0.5)
  monkeypatch.setattr(objects, "WAITS", (0.1,))
  if mode == "closed":
    proxy.close()
  else:
    proxy.mode = mode
  start = time.monotonic()
  with pytest.raises(objects.BucketError) as caught:
    objects.read(url)
  assert time.monotonic() - start < 10
  message = str(caught.value)
  assert message.startswith(f"{url}: ")
  assert "after 2 tries" in message
  assert "\n" not in message


def test_a_bucket_that_is_not_there(emulator):
  url = f"{emulator.scheme}://no-such-bucket/runs/a"
  with pytest.raises(objects.BucketError) as caught:
    bucket_path.check(bucket_path.make(url), f"--workdir={url}")
  assert str(caught.value) == (
    f"--workdir={url}: there is no bucket {emulator.scheme}://no-such-bucket"
  )
  with pytest.raises(objects.BucketError, match="there is no such bucket"):
    objects.write(url, b"1", replaces=objects.ABSENT)


def test_an_address_without_a_bucket(emulator):
  with pytest.raises(objects.BucketError, match=r"--workdir=s must name a buc"):
    bucket_path.check(bucket_path.make(f"{emulator.scheme}://"), "--workdir=s")


def test_no_credentials(emulator_s3):
  none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
  url = f"{emulator_s3.root}/runs/a"
  with (
    emulators.connected(emulator_s3.variables | none),
    pytest.raises(objects.BucketError) as caught,
  ):
    bucket_path.check(bucket_path.make(url), f"--workdir={url}")
  message = str(caught.value)
  assert message.startswith(f"--workdir={url}: {url}: no access (")
  assert message.endswith("AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
  assert "\n" not in message


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sending a large body")
def test_a_stream_is_whole_or_not_there(folder, monkeypatch):
  monkeypatch.setattr(objects, "_STREAM_BYTES", 5 << 20)
  data = bytes(range(256)) * (12 << 12)  # three parts
  url = str(folder / "a")
  with objects.streamed(url) as file:
    for start in range(0, len(data), 1 << 20):
      file.write(data[start : start + (1 << 20)])
    assert not (folder / "a").exists()
  assert (folder / "a").read_bytes() == data
  made = objects.streamed(str(folder / "b"))
  made.__enter__().write(data)
  error = KeyError("b")
  assert not made.__exit__(KeyError, error, None)
  del made
  gc.collect()
  assert not (folder / "b").exists()


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_a_stream_to_a_bucket_that_vanishes(folder, proxy, monkeypatch):
  monkeypatch.setattr(objects, "_STREAM_BYTES", 5 << 20)
  made = objects.streamed(str(folder / "a"))
  file = made.__enter__()
  proxy.close()
  with pytest.raises(objects.BucketError, match=f"{folder}/a: "):
    file.write(b"0" * (6 << 20))


def test_children(folder):
  for name in ("a/b", "a/c/d", "e"):
    whole_files.write(folder / name, b"1")
  assert objects.children(str(folder)) == ["a", "e"]
  assert objects.children(str(folder / "a")) == ["b", "c"]
  assert objects.children(str(folder / "none")) == []
  root = str(folder.parent)
  assert folder.name in objects.children(root)
  assert f"{folder.name}/a/c/d" in objects.sizes(root)

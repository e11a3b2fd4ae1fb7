"""Requests to Google Cloud Storage and S3, each sent once.

They are coroutines of a client's file system, a bucket and a key, and raise the
client's errors; objects.py tries them several times.
"""

import dataclasses
import email.utils
import io
import json
from typing import Any

_BOUNDARY = "==diptych-object=="


@dataclasses.dataclass(frozen=True)
class Stored:
  """Content of an object.

  Attributes:
    data: all bytes.
    version: generation or ETag.
    age: seconds since it was written, by the clock of the store.
  """

  data: bytes
  version: str
  age: float


class _Body(io.BytesIO):
  """Bytes of a request; aiohttp closes them after each try."""

  def close(self) -> None:
    self.seek(0)


async def read_gs(fs: Any, bucket: str, key: str) -> Stored:
  """Return an object of Google's."""
  headers, data = await fs._call("GET", "b/{}/o/{}", bucket, key, alt="media")
  dates = headers.get("Last-Modified"), headers.get("Date")
  return Stored(data, headers["X-Goog-Generation"], _age(*dates))


async def read_s3(fs: Any, bucket: str, key: str) -> Stored:
  """Return an object of S3's."""
  response = await fs._call_s3("get_object", Bucket=bucket, Key=key)
  async with response["Body"] as body:
    data = await body.read()
  headers = response["ResponseMetadata"]["HTTPHeaders"]
  dates = headers.get("last-modified"), headers.get("date")
  return Stored(data, response["ETag"], _age(*dates))


def _age(written: str | None, now: str | None) -> float:
  """Return the seconds between two HTTP dates; 0 where one is missing."""
  if not written or not now:
    return 0.0
  parse = email.utils.parsedate_to_datetime
  return max((parse(now) - parse(written)).total_seconds(), 0.0)


async def write_gs(
  fs: Any, bucket: str, key: str, data: bytes, replaces: str, seconds: float
) -> str:
  """Write an object of Google's in place of a generation; return the new."""
  del seconds
  # Multipart: emulators do not check the precondition of uploadType=media.
  body = b"".join(
    part + b"\r\n"
    for part in (
      f"--{_BOUNDARY}".encode(),
      b"Content-Type: application/json; charset=UTF-8\r\n",
      json.dumps({"name": key}).encode(),
      f"--{_BOUNDARY}".encode(),
      b"Content-Type: application/octet-stream\r\n",
      data,
      f"--{_BOUNDARY}--".encode(),
    )
  )
  written = await fs._call(
    "POST",
    f"{fs._location}/upload/storage/v1/b/{bucket}/o",
    uploadType="multipart",
    ifGenerationMatch=replaces or "0",
    headers={"Content-Type": f'multipart/related; boundary="{_BOUNDARY}"'},
    data=_Body(body),
    json_out=True,
  )
  return str(written["generation"])


async def write_s3(
  fs: Any, bucket: str, key: str, data: bytes, replaces: str, seconds: float
) -> str:
  """Write an object of S3's in place of an ETag; return the new."""
  del seconds
  condition = {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}
  response = await fs._call_s3(
    "put_object", Bucket=bucket, Key=key, Body=data, **condition
  )
  return response["ETag"]


async def version(fs: Any, bucket: str, key: str) -> str:
  """Return the generation or ETag of an object."""
  if "gs" in fs.protocol:
    found = await fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
    return str(found["generation"])
  return (await fs._call_s3("head_object", Bucket=bucket, Key=key))["ETag"]


async def delete(fs: Any, bucket: str, key: str) -> None:
  """Delete an object."""
  if "gs" in fs.protocol:
    await fs._call("DELETE", "b/{}/o/{}", bucket, key)
  else:
    await fs._call_s3("delete_object", Bucket=bucket, Key=key)


async def list_one(fs: Any, bucket: str, key: str) -> bool:
  """Return whether the key of any object begins with one."""
  if "gs" in fs.protocol:
    listed = await fs._call(
      "GET", "b/{}/o", bucket, prefix=key, maxResults=1, json_out=True
    )
    return bool(listed.get("items"))
  listed = await fs._call_s3(
    "list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1
  )
  return bool(listed.get("KeyCount"))


async def list_children(fs: Any, bucket: str, key: str) -> list[str]:
  """Return keys below a folder, of each folder below it the beginning."""
  names: list[str] = []
  token: dict[str, str] = {}
  while True:
    if "gs" in fs.protocol:
      fields = {"prefix": key, "delimiter": "/", **token}
      listed = await fs._call("GET", "b/{}/o", bucket, json_out=True, **fields)
      names += [item["name"] for item in listed.get("items", ())]
      names += listed.get("prefixes", ())
      next_token = listed.get("nextPageToken")
      token = {"pageToken": next_token}
    else:
      fields = {"Prefix": key, "Delimiter": "/", **token}
      listed = await fs._call_s3("list_objects_v2", Bucket=bucket, **fields)
      names += [item["Key"] for item in listed.get("Contents", ())]
      names += [item["Prefix"] for item in listed.get("CommonPrefixes", ())]
      next_token = listed.get("NextContinuationToken")
      token = {"ContinuationToken": next_token}
    if not next_token:
      return names


async def find(fs: Any, bucket: str, key: str) -> dict[str, Any]:
  """Return {key: facts} of all objects whose keys begin with one."""
  fs.invalidate_cache()
  infos = await fs._find(f"{bucket}/{key}", detail=True)
  return {name.partition("/")[2]: info for name, info in infos.items()}


async def put_file(fs: Any, bucket: str, key: str, path: str) -> None:
  """Upload a file of this disk."""
  await fs._put_file(path, f"{bucket}/{key}")


async def get_file(fs: Any, bucket: str, key: str, path: str) -> None:
  """Download an object to a file of this disk."""
  await fs._get_file(f"{bucket}/{key}", path)


async def copy_file(fs: Any, bucket: str, key: str, target: str) -> None:
  """Copy an object to BUCKET/KEY."""
  await fs._cp_file(f"{bucket}/{key}", target)

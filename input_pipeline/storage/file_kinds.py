"""Kind of a file by its first bytes, for messages about a wrong file.

A download that failed, a Git LFS pointer or a compressed copy often has the
name of the file that was wanted.
"""

# Number of first bytes that tell every kind apart.
NUM_BYTES = 512

_GIT_LFS = (
  "a Git LFS pointer in place of the file itself: `git lfs pull` fetches it"
)
_HTML = "an HTML page, such as that of a failed download"

# First bytes -> kind.
_BEGINNINGS = (
  (b"version https://git-lfs.github.com/", _GIT_LFS),
  (b"version https://hawser.github.com/", _GIT_LFS),
  (b"\x1f\x8b", "gzip data"),
  (b"\x1f\x9d", "data compressed by compress"),
  (b"\xfd7zXZ\0", "xz data"),
  (b"\x28\xb5\x2f\xfd", "zstd data"),
  (b"\x04\x22\x4d\x18", "lz4 data"),
  (b"LZIP\1", "lzip data"),
  (b"PK\3\4", "a zip file"),
  (b"PK\5\6", "an empty zip file"),
  (b"PK\7\x08", "a zip file"),
  (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
  (b"Rar!\x1a\x07", "a RAR archive"),
  (b"\xff\xd8\xff", "a JPEG image"),
  (b"\x89PNG\r\n\x1a\n", "a PNG image"),
  (b"GIF87a", "a GIF image"),
  (b"GIF89a", "a GIF image"),
  (b"II*\0", "a TIFF image"),
  (b"MM\0*", "a TIFF image"),
  (b"II+\0", "a BigTIFF image"),
  (b"MM\0+", "a BigTIFF image"),
  (b"\xff\x0a", "a JPEG XL image"),
  (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
  (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
  (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
  (b"8BPS\0", "a Photoshop document"),
  (b"%PDF-", "a PDF document"),
  (b"%!PS", "a PostScript document"),
  (b"\x1a\x45\xdf\xa3", "a WebM or Matroska video"),
  (b"OggS", "an Ogg sound or video"),
  (b"fLaC", "a FLAC sound"),
  (b"PAR1", "a Parquet file"),
  (b"PARE", "an encrypted Parquet file"),
  (b"ARROW1", "an Arrow file"),
  (b"FEA1", "a Feather file"),
  (b"Obj\1", "an Avro file"),
  (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
  (b"\x93NUMPY", "a NumPy array (.npy)"),
  (b"SQLite format 3\0", "an SQLite database"),
  (b"\x83\xaf\x70\xd1\x0d\x88\x4a\x3f", "an ArrayRecord (Riegeli) file"),
  (b"\x7fELF", "a program"),
)
# Brand of an ISO media file, such as HEIC and MP4 -> kind, first match first.
_BRANDS = (
  ({b"avif", b"avis"}, "an AVIF image"),
  ({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}, "a HEIC image"),
  ({b"mif1", b"msf1"}, "a HEIF image"),
  ({b"crx "}, "a Canon raw image"),
  ({b"qt  "}, "a QuickTime video"),
)
# First bytes of a RIFF file at byte 8 -> kind.
_RIFF = {
  b"WEBP": "a WebP image",
  b"WAVE": "a WAV sound",
  b"AVI ": "an AVI video",
}
_SPACES = b"\xef\xbb\xbf \t\r\n"
_HTML_TAGS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<title")


def describe(first_bytes: bytes) -> str:
  """Return the kind of a file with an article, "" where it is unknown.

  Text without a mark of its own, such as CSV and JSON, is unknown.

  Args:
    first_bytes: first NUM_BYTES of the file, or all of a shorter one.
  """
  if not first_bytes:
    return "an empty file"
  if not any(first_bytes):
    return "nothing but zeros"
  for beginning, kind in _BEGINNINGS:
    if first_bytes.startswith(beginning):
      return kind
  if first_bytes[4:8] == b"ftyp":
    return _iso_media(first_bytes)
  if first_bytes[:4] == b"RIFF":
    return _RIFF.get(first_bytes[8:12], "")
  if first_bytes[:2] == b"BM" and first_bytes[6:10] == bytes(4):
    return "a BMP image"
  if first_bytes[:3] == b"BZh" and first_bytes[4:10] == b"1AY&SY":
    return "bzip2 data"
  if first_bytes[257:262] == b"ustar":
    return "a tar"
  if first_bytes[:1] == b"\x80" and 2 <= int.from_bytes(first_bytes[1:2]) <= 5:
    return "a pickle, which is never loaded"
  if first_bytes[8:10] == b'{"' and first_bytes[6:8] == b"\0\0":
    return "a safetensors file"
  return _markup(first_bytes)


def _iso_media(first_bytes: bytes) -> str:
  stop = int.from_bytes(first_bytes[:4], "big")
  brands = {first_bytes[8:12]}
  brands |= {first_bytes[i : i + 4] for i in range(16, stop, 4)[:NUM_BYTES]}
  for names, kind in _BRANDS:
    if brands & names:
      return kind
  return "an MP4 video"


def _markup(first_bytes: bytes) -> str:
  text = first_bytes.lstrip(_SPACES).lower()
  if text.startswith(_HTML_TAGS):
    return _HTML
  if text.startswith((b"<!--", b"<?xml")):
    if any(tag in text for tag in _HTML_TAGS):
      return _HTML
    if b"<svg" in text:
      return "an SVG image"
    return "an XML document, such as a server's message of an error"
  if text.startswith((b"<svg", b"<!doctype svg")):
    return "an SVG image"
  if text.startswith((b"<error>", b"<error ")):
    return "an XML document, such as a server's message of an error"
  return ""

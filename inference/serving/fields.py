"""Fields of requests: one table that is checked, described and tested.

A request is a JSON object, with pictures in base64, or a form (multipart), with
pictures as files. A field that is wrong is a RequestError that names it.
"""

import base64
import binascii
import dataclasses
import json
import math
import reprlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

# Characters of a text; a longer one is no caption.
_MOST_CHARACTERS = 2_000


class RequestError(Exception):
  """Request that is refused.

  Attributes:
    status: code of the answer, 4xx or 503.
    field: name of the field at fault; "" where none is.
    retry_after: seconds after which the same request may be answered; 0 for
      never.
  """

  def __init__(
    self, status: int, message: str, *, field: str = "", retry_after: int = 0
  ):
    super().__init__(message)
    self.status = status
    self.field = field
    self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class Field:
  """Field of a request.

  Attributes:
    kind: "text", "picture", "number", "integer" or "flag".
    about: sentence about it.
    default: value where the field is missing; None for a text, a picture or
      nothing at all that may be missing.
    is_required: whether it must be there.
    least, most: range of a number; `most` also the characters of a text.
    max_items: most values of a list, which must not be empty; 0 for a field
      that has one value.
    choices: values of a text; none for any.
  """

  kind: str
  about: str
  default: Any = None
  is_required: bool = False
  least: float = -math.inf
  most: float = math.inf
  max_items: int = 0
  choices: tuple[str, ...] = ()

  def schema(self) -> dict[str, Any]:
    """Return the field's JSON schema."""
    types_of = {"text": "string", "picture": "string", "flag": "boolean"}
    one: dict[str, Any] = {"type": types_of.get(self.kind, self.kind)}
    if self.kind == "picture":
      one["contentEncoding"] = "base64"
    if self.kind == "text":
      one |= {"minLength": 1, "maxLength": self._most_characters()}
    if self.choices:
      one["enum"] = [*self.choices]
    if math.isfinite(self.least):
      one["minimum"] = self.least
    if math.isfinite(self.most) and self.kind != "text":
      one["maximum"] = self.most
    if self.max_items:
      one = {"type": "array", "items": one}
      one |= {"minItems": 1, "maxItems": self.max_items}
    if self.default is not None:
      one["default"] = self.default
    return one | {"description": self.about}

  def read(self, name: str, value: Any) -> Any:
    """Return a value that may be used.

    Raises:
      RequestError: it may not; the message names the field.
    """
    if not self.max_items:
      return self._one(name, value)
    if not isinstance(value, list) or not value:
      raise _wrong(name, f"must be a list of at least one; got {_short(value)}")
    if len(value) > self.max_items:
      raise _wrong(
        name, f"must have at most {self.max_items:,} values; got {len(value):,}"
      )
    return [self._one(name, one) for one in value]

  def _one(self, name: str, value: Any) -> Any:
    if self.kind == "picture":
      return _picture(name, value)
    if self.kind == "text":
      return self._text(name, value)
    if self.kind == "flag":
      words = {"true": True, "false": False}
      read = words.get(value, value) if isinstance(value, str) else value
      if not isinstance(read, bool):
        raise _wrong(name, f"must be true or false; got {_short(value)}")
      return read
    return self._number(name, value)

  def _text(self, name: str, value: Any) -> str:
    if not isinstance(value, str):
      raise _wrong(name, f"must be a text; got {_short(value)}")
    if not value.strip():
      raise _wrong(name, "is empty: type a text")
    if len(value) > self._most_characters():
      raise _wrong(
        name,
        f"must have at most {self._most_characters():,} characters; got"
        f" {len(value):,}",
      )
    try:
      value.encode()
    except UnicodeEncodeError as error:
      raise _wrong(name, f"is no text in Unicode: {error.reason}") from error
    if self.choices and value not in self.choices:
      names = ", ".join(self.choices)
      raise _wrong(name, f"must be one of {names}; got {_short(value)}")
    return value

  def _number(self, name: str, value: Any) -> float:
    is_whole = self.kind == "integer"
    noun = "a whole number" if is_whole else "a number"
    try:
      if isinstance(value, str):  # a form has texts only
        value = int(value) if is_whole else float(value)
      if isinstance(value, bool) or not isinstance(
        value, int if is_whole else int | float
      ):
        raise ValueError
      value = value if is_whole else float(value)
    except (ValueError, OverflowError) as error:
      raise _wrong(name, f"must be {noun}; got {_short(value)}") from error
    if not self.least <= value <= self.most:
      raise _wrong(
        name,
        f"must be between {self.least:g} and {self.most:g}; got"
        f" {_short(value)}",
      )
    return value

  def _most_characters(self) -> int:
    return int(min(self.most, _MOST_CHARACTERS))


def read(fields: Mapping[str, Field], raw: Mapping[str, Any]) -> dict[str, Any]:
  """Return the values of a request, by name.

  Raises:
    RequestError: a field is wrong, missing or unknown.
  """
  for name in raw:
    if name not in fields:
      known = ", ".join(fields)
      raise _wrong(_short(name, False), f"is not known; fields are {known}")
  values = {}
  for name, field in fields.items():
    if raw.get(name) is not None:
      values[name] = field.read(name, raw[name])
    elif field.is_required:
      raise _wrong(name, "is missing")
    else:
      values[name] = field.default
  return values


def of_json(data: bytes) -> dict[str, Any]:
  """Return the object of a JSON text.

  Raises:
    RequestError: it is no JSON, or no object.
  """
  try:
    value = json.loads(data, parse_constant=_no_constant)
  except (ValueError, RecursionError) as error:
    said = (
      "it is nested too deep" if not isinstance(error, ValueError) else error
    )
    raise RequestError(400, f"the body is no JSON: {said}") from error
  if not isinstance(value, dict):
    raise RequestError(400, f"the body must be an object; got {_short(value)}")
  return value


def of_form(
  fields: Mapping[str, Field], items: Sequence[tuple[str, str | bytes]]
) -> dict[str, Any]:
  """Return the values of a form as `of_json` would.

  Raises:
    RequestError: a field that has one value is there twice.
  """
  raw: dict[str, Any] = {}
  for name, value in items:
    is_list = name in fields and fields[name].max_items
    if is_list:
      raw.setdefault(name, []).append(value)
    elif name in raw:
      raise _wrong(_short(name, False), "is there twice")
    else:
      raw[name] = value
  return raw


def _picture(name: str, value: Any) -> bytes:
  """Return the bytes of a picture, of a form or in base64."""
  if isinstance(value, str):
    # A browser's data URL has its kind before the base64.
    text = value.partition(";base64,")[2] if value[:5] == "data:" else value
    try:
      value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
      raise _wrong(name, f"is no picture in base64: {error}") from error
  if not isinstance(value, bytes):
    raise _wrong(name, f"must be a picture in base64; got {_short(value)}")
  if not value:
    raise _wrong(name, "is an empty file: choose a picture")
  return value


def _wrong(name: str, message: str) -> RequestError:
  return RequestError(400, f"{name} {message}", field=name)


def _no_constant(name: str) -> None:
  raise ValueError(f"{name} is no number of JSON")


def _short(value: Any, is_quoted: bool = True) -> str:
  """Return the beginning of a value, for messages."""
  text = reprlib.repr(value)
  return text if is_quoted else text[1:-1]


_LABELS = 1_000
_IMAGE = Field("picture", "Picture.", is_required=True)
EMBED = types.MappingProxyType(
  {
    "texts": Field("text", "Texts to embed.", max_items=256),
    "images": Field("picture", "Pictures to embed.", max_items=32),
  }
)
SEARCH = types.MappingProxyType(
  {
    "query": Field("text", "Text that results are to be like."),
    "image": Field("picture", "Picture that results are to be like."),
    "without": Field("text", "Text that results are to be unlike."),
    "query_weight": Field(
      "number",
      "Weight of the text beside a picture.",
      1.0,
      least=0.01,
      most=100,
    ),
    "num_results": Field("integer", "Most results.", 12, least=1, most=200),
    "fold": Field(
      "number",
      "Cosine similarity from which a picture is a duplicate of a better"
      " result, which then names it; 0 folds none.",
      *(0.0,),
      least=0,
      most=1,
    ),
    "thumbnails": Field(
      "flag", "Whether results hold small pictures, as data URLs.", False
    ),
  }
)
CLASSIFY = types.MappingProxyType(
  {
    "image": _IMAGE,
    "labels": Field(
      "text", "Labels to choose from.", is_required=True, max_items=_LABELS
    ),
    "templates": Field(
      "text", "Texts with {} in place of a label.", max_items=100
    ),
  }
)


CAPTION = types.MappingProxyType({"image": _IMAGE})
REFER = types.MappingProxyType(
  {
    "image": _IMAGE,
    "text": Field("text", "Text to find in it.", is_required=True),
  }
)


def explain(methods: Sequence[str]) -> Mapping[str, Field]:
  """Return the fields of /v1/explain, for a model with maps of some methods."""
  about = "Method of the map, as of --task=explain."
  return {
    "image": _IMAGE,
    "text": Field("text", "Text to look for in it.", is_required=True),
    "method": Field("text", about, methods[0], choices=(*methods,)),
  }

"""Description of the JSON interface, as OpenAPI 3.1."""

import types
from collections.abc import Mapping, Sequence
from typing import Any

from inference.explaining import heat_maps
from inference.serving import fields

# Methods of heat maps whose work does not grow with the picture.
METHODS = tuple(x for x in heat_maps.METHODS if x != heat_maps.TILES)
# Fields of each POST /v1/NAME.
FIELDS: Mapping[str, Mapping[str, fields.Field]] = types.MappingProxyType(
  {
    "embed": fields.EMBED,
    "search": fields.SEARCH,
    "classify": fields.CLASSIFY,
    "explain": fields.explain(METHODS),
    "caption": fields.CAPTION,
    "refer": fields.REFER,
  }
)
_SUMMARIES = {
  "embed": "Embed texts and pictures as rows of length 1",
  "search": "Find pictures like a text, a picture or both, best first",
  "classify": "Choose among labels for a picture, best first",
  "explain": "Draw which parts of a picture are like a text",
  "caption": "Write a caption of a picture, by the decoder of a run",
  "refer": "Find the box of a text in a picture, by the decoder of a run",
}
_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_ROWS = {"type": "array", "items": {"type": "array", "items": _NUMBER}}
_ANSWERS: Mapping[str, Mapping[str, Any]] = {
  "embed": {"texts": _ROWS, "images": _ROWS},
  "search": {
    "results": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "rank": {"type": "integer"},
          "score": _NUMBER,
          "path": _TEXT,
          "name": _TEXT,
          "key": _TEXT,
          "split": _TEXT,
          "duplicates": {"type": "array", "items": _TEXT},
          "thumbnail": {"type": ["string", "null"]},
        },
        "required": ["rank", "score", "path", "name"],
      },
    }
  },
  "classify": {
    "loss": {"enum": ["softmax", "sigmoid"]},
    "labels": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "label": _TEXT,
          "probability": _NUMBER,
          "similarity": _NUMBER,
        },
        "required": ["label", "probability", "similarity"],
      },
    },
  },
  "explain": {
    "similarity": _NUMBER,
    "method": _TEXT,
    "unit": _TEXT,
    "low": _NUMBER,
    "high": _NUMBER,
    "picture": _TEXT,
    "heat": _TEXT,
    "legend": _TEXT,
  },
  "caption": {
    "caption": _TEXT,
    "is_whole": {"type": "boolean"},
    "num_dropped": {"type": "integer"},
  },
  "refer": {
    "box": {
      "type": ["array", "null"],
      "items": _NUMBER,
      "minItems": 4,
      "maxItems": 4,
    },
    "width": {"type": "integer"},
    "height": {"type": "integer"},
    "picture": _TEXT,
  },
}
# Request -> meaning of a refusal by 409.
_ABSENT = {
  "search": "There is no gallery",
  "caption": "There is no decoder that writes captions",
  "refer": "There is no decoder that finds boxes",
}
_REFUSALS = {
  400: "A field is wrong; `error.field` names it",
  401: "The token is missing or wrong",
  403: "Host or Origin is not this server's",
  408: "The body came too slowly",
  413: "The body is too large",
  415: "The body is neither JSON nor a form",
  429: "Too many requests; see Retry-After",
  503: "The model is not loaded yet; see Retry-After",
}


def fields_of(name: str, methods: Sequence[str]) -> Mapping[str, fields.Field]:
  """Return the fields of a request to /v1/NAME.

  Args:
    name: key of FIELDS.
    methods: methods of maps that the model has.
  """
  return fields.explain(methods) if name == "explain" else FIELDS[name]


def description(num_bytes: int) -> dict[str, Any]:
  """Return the OpenAPI object; bodies are at most `num_bytes` long."""
  failure = _content(
    _object(
      {"error": _object({"message": _TEXT, "field": _TEXT}, ["message"])},
      ["error"],
    )
  )
  refusals = {
    str(code): {"description": text, **failure}
    for code, text in _REFUSALS.items()
  }
  paths: dict[str, Any] = {
    "/v1/info": {
      "get": {
        "operationId": "info",
        "summary": "Say what is served, or what is being loaded",
        "responses": {
          "200": {"description": "Facts", **_content({"type": "object"})},
          **{code: refusals[code] for code in ("401", "403", "429")},
        },
      }
    }
  }
  for name, table in FIELDS.items():
    needed = [key for key, field in table.items() if field.is_required]
    schema = _object({key: x.schema() for key, x in table.items()}, needed)
    form = _object(
      {key: _form_schema(field) for key, field in table.items()}, needed
    )
    others = {"409": {"description": _ABSENT.get(name, ""), **failure}}
    paths[f"/v1/{name}"] = {
      "post": {
        "operationId": name,
        "summary": _SUMMARIES[name],
        "requestBody": {
          "required": True,
          "content": {
            "application/json": {
              "schema": schema | {"additionalProperties": False}
            },
            "multipart/form-data": {"schema": form},
          },
        },
        "responses": {
          "200": {
            "description": "Answer",
            **_content(
              _object(
                {"model": _TEXT, **_ANSWERS[name]}, ["model", *_ANSWERS[name]]
              )
            ),
          },
          **refusals,
          **(others if name in _ABSENT else {}),
        },
      }
    }
  return {
    "openapi": "3.1.0",
    "info": {
      "title": "Diptych",
      "version": "1",
      "description": (
        "A dual encoder of images and texts, for one machine. Bodies are at"
        f" most {num_bytes:,} bytes."
      ),
    },
    "paths": paths,
    "components": {
      "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}
    },
    "security": [{}, {"token": []}],
  }


def _form_schema(field: fields.Field) -> dict[str, Any]:
  schema = field.schema()
  one = schema.get("items", schema)
  if field.kind == "picture":
    del one["contentEncoding"]
    one["contentMediaType"] = "application/octet-stream"
  return schema


def _object(
  properties: Mapping[str, Any], required: Sequence[str]
) -> dict[str, Any]:
  made = {"type": "object", "properties": dict(properties)}
  return made | ({"required": [*required]} if required else {})


def _content(schema: Mapping[str, Any]) -> dict[str, Any]:
  return {"content": {"application/json": {"schema": schema}}}

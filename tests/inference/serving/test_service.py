"""Answers of the server: those of the model and the gallery in Python."""

import base64
import io
import json
from concurrent import futures

import hypothesis
import jsonschema
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image
from starlette import testclient

from inference.searching import search
from inference.serving import app as app_lib
from inference.serving import batcher, fields, openapi, service
from inference.serving import gate as gate_lib


def _picture(data_url):
  head, _, data = data_url.partition(",")
  assert head.startswith("data:image/")
  return Image.open(io.BytesIO(base64.b64decode(data)))


def _post(client, name, **values):
  answer = client.post(f"/v1/{name}", json=values)
  assert answer.status_code == 200, answer.text
  schema = openapi.description(1)["paths"][f"/v1/{name}"]["post"]["responses"]
  jsonschema.validate(
    answer.json(), schema["200"]["content"]["application/json"]["schema"]
  )
  return answer.json()


def _base64(file):
  return base64.b64encode(file.read_bytes()).decode()


def test_embeddings(client, model, files):
  texts = ["a cat", "woman firefighter", "a cat"]
  answer = _post(client, "embed", texts=texts, images=[_base64(files[3])])
  assert answer["model"] == model.digest
  np.testing.assert_allclose(
    answer["texts"], model.embed_texts(texts), atol=1e-6
  )
  np.testing.assert_allclose(
    answer["images"], model.embed_images(files[3]), atol=1e-6
  )


def test_search(client, model, gallery, files):
  query_E = model.embed_texts("a cat")[0]
  answer = _post(client, "search", query="a cat", num_results=5)
  expected = [x.facts() for x in search.search(gallery, query_E, 5)]
  for got, wanted in zip(answer["results"], expected, strict=True):
    assert got == wanted | {"score": pytest.approx(wanted["score"], abs=1e-6)}
  mixed_E = model.embed_images(files[7])[0] + 0.5 * query_E
  mixed_E -= model.embed_texts("a dog")[0]
  mixed_E /= np.linalg.norm(mixed_E)
  values = {"query": "a cat", "query_weight": 0.5, "without": "a dog"}
  answer = _post(
    client, "search", image=_base64(files[7]), thumbnails=True, **values
  )
  expected = search.search(gallery, mixed_E, 12)
  assert [x["path"] for x in answer["results"]] == [
    x.entry.path for x in expected
  ]
  for got in answer["results"]:
    small = _picture(got["thumbnail"])
    original = Image.open(got["path"])
    assert small.size == original.size
    distance = np.subtract(small.convert("RGB"), original, dtype=float)
    assert np.abs(distance).max() < 8
  folded = _post(client, "search", query="a cat", fold=1e-6)["results"]
  assert folded[0]["duplicates"]
  answer = client.post("/v1/search", json={"query": "a", "without": "a"})
  assert answer.status_code == 400
  assert answer.json()["error"]["field"] == "without"


def test_classify(client, model, files):
  labels, templates = ["cat", "dog", "bee"], ["a {}.", "one {}"]
  found = model.classify(files[1], labels, templates)
  form = {"labels": labels, "templates": templates}
  answer = client.post(
    "/v1/classify", data=form, files={"image": files[1].read_bytes()}
  )
  got = answer.json()["labels"]
  assert [(x["label"], pytest.approx(x["probability"])) for x in got] == (
    found.top(3)[0]
  )
  values = form | {"image": _base64(files[1])}
  assert _post(client, "classify", **values) == answer.json()


def test_explain(client, model, files, served):
  assert served.methods == ("windows", "occlusion", "attention", "patches")
  made = model.explain(files[2], "a cat")
  image = f"data:image/png;base64,{_base64(files[2])}"
  answer = _post(client, "explain", text="a cat", image=image)
  assert answer["similarity"] == pytest.approx(made.similarity, abs=1e-6)
  assert answer["high"] == pytest.approx(made.map_YX.max(), rel=1e-3)
  heat, plain = _picture(answer["heat"]), _picture(answer["picture"])
  assert heat.size == plain.size == (256, 256)
  assert _picture(answer["legend"]).size == (128, 1)


def test_facts_and_files(client, model):
  answer = client.get("/v1/info").json()
  assert answer["is_ready"]
  assert answer["model"]["digest"] == model.digest
  assert answer["gallery"]["num_pictures"] == 12
  described = client.get("/openapi.json").json()
  assert [*described["paths"]] == [
    *("/v1/info", "/v1/embed", "/v1/search", "/v1/classify", "/v1/explain"),
    *("/v1/caption", "/v1/refer"),
  ]
  page = client.get("/")
  policy = page.headers["content-security-policy"]
  assert "default-src 'self';" in policy
  assert "unsafe" not in policy
  # Neither scripts nor styles in the page, nor anything from elsewhere.
  for word in ("<style", "style=", "onclick", "://", "<script>"):
    assert word not in page.text
  for name in ("serve.js", "serve.css", "page.css", "icon.svg"):
    answer = client.get(f"/{name}")
    assert answer.status_code == 200
    assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "")


def test_what_is_loading_and_no_gallery(model):
  state = app_lib.State("Loading the model")
  app = app_lib.make_app(state, gate_lib.Limits())
  with testclient.TestClient(app, base_url="http://localhost") as client:
    assert client.get("/v1/info").json()["stage"] == "Loading the model"
    answer = client.post("/v1/search", json={"query": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    state.service = service.Service(model, None, {"kind": None})
    assert client.get("/v1/info").json()["gallery"]["num_pictures"] == 0
    answer = client.post("/v1/search", json={"query": "a"})
    assert answer.status_code == 409
    assert "without --index" in answer.json()["error"]["message"]


def test_a_defect_is_an_answer(client, served, monkeypatch, caplog):
  monkeypatch.setattr(served, "embed", lambda **_: 1 / 0)
  answer = client.post("/v1/embed", json={"texts": ["a"]})
  assert answer.status_code == 500
  assert "its log says why" in answer.json()["error"]["message"]
  assert "ZeroDivisionError" in caplog.text


def test_requests_at_once_share_batches(served, model):
  sizes = []
  embed = served._texts._fn

  def noted(texts):
    sizes.append(len(texts))
    return embed(texts)

  served._texts._fn = noted
  texts = [f"text {n}" for n in range(48)]
  try:
    with futures.ThreadPoolExecutor(16) as pool:
      found = pool.map(lambda text: served.embed([text], None)["texts"], texts)
      np.testing.assert_allclose(
        np.concatenate([*found]), model.embed_texts(texts), atol=1e-6
      )
  finally:
    served._texts._fn = embed
  assert sum(sizes) == 48
  assert len(sizes) < 40


def test_short_texts_are_not_filled_up(model, monkeypatch):
  monkeypatch.setattr(service, "_SHORT", 4)
  monkeypatch.setattr(service, "_TEXT_SIZES", (1, 4))
  monkeypatch.setattr(service, "_IMAGE_SIZES", (1,))
  made = service.Service(model, None, {"kind": None})
  stages = []
  made.warm(stages.append, is_all=True)
  num_sizes = len(made._fns["text"])
  assert sum("short text" in stage for stage in stages) == num_sizes
  texts = ["a", "a cat on a long wall of grey stone", "b"]
  lengths = [int((x != 0).sum()) for x in model.tokenizer(texts)]
  assert max(lengths[::2]) <= 4 < lengths[1]
  expected_NE = model.embed_texts(texts)
  shapes = []
  embed = made._embed

  def noted(kind, rows):
    shapes.append((kind, len(rows), len(rows[0])))
    return embed(kind, rows)

  monkeypatch.setattr(made, "_embed", noted)
  for part in (texts, texts[::2], texts[1:2]):
    found_NE = np.stack(made._embed_texts(part))
    wanted_NE = expected_NE[[texts.index(text) for text in part]]
    # The order of sums differs with the length.
    np.testing.assert_allclose(found_NE, wanted_NE, atol=1e-6)
  assert shapes == [("text", 3, 8), ("short text", 2, 4), ("text", 1, 8)]


def test_a_failure_reaches_all_of_its_batch_and_no_other():
  def reciprocals(numbers):
    return [1 / number for number in numbers]

  made = batcher.Batcher(reciprocals, name="test", max_size=1)
  good, bad, last = (made.submit(number) for number in (4, 0, 2))
  assert good.result() == 0.25
  with pytest.raises(ZeroDivisionError):
    bad.result()
  assert last.result() == 0.5


JSON_VALUES = strategies.recursive(
  strategies.none()
  | strategies.booleans()
  | strategies.integers()
  | strategies.floats(allow_nan=False, allow_infinity=False)
  | strategies.text(max_size=20),
  lambda inner: (
    strategies.lists(inner, max_size=4)
    | strategies.dictionaries(strategies.text(max_size=8), inner, max_size=4)
  ),
  max_leaves=8,
)
NAMES = sorted({name for table in openapi.FIELDS.values() for name in table})
LIKELY = strategies.sampled_from(
  ["a cat", ["a", "b"], 3, 0.5, True, ["a {}"], "windows", "iVBORw0KGgo="]
)


@hypothesis.given(
  job=strategies.sampled_from(sorted(openapi.FIELDS)),
  values=strategies.dictionaries(
    strategies.sampled_from(NAMES) | strategies.text(max_size=5),
    LIKELY | JSON_VALUES,
    max_size=5,
  ),
)
@hypothesis.settings(
  max_examples=60,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_any_object_is_answered_or_refused(client, job, values):
  answer = client.post(
    f"/v1/{job}",
    content=json.dumps(values).encode(),
    headers={"content-type": "application/json"},
  )
  # 409 is that of a model without a decoder.
  assert answer.status_code in (200, 400, 409), answer.text
  if answer.status_code != 200:
    assert answer.json()["error"]["message"]


@hypothesis.given(data=strategies.binary(max_size=300))
@hypothesis.settings(deadline=None)
def test_any_bytes_are_read_or_refused(data):
  try:
    values = fields.read(fields.SEARCH, fields.of_json(data))
  except fields.RequestError as error:
    said = str(error)
  else:
    said = ", ".join(values)
  assert said

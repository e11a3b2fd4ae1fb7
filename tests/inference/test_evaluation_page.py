"""HTML page of sets by name."""

from inference import evaluation_page


def test_groups_have_their_gap():
  rows = [
    {"name": "Asia", "n": 1, "mean": 0.75, "interval": [0.5, 0.875]},
    {"name": "Europe", "n": 2, "mean": 0.5, "interval": [0.25, 0.625]},
  ]
  model = {"path": "m", "digest": "d", "dtype": "float32", "jax": "1"}
  model |= {"platform": "cpu", "image_protocol": {"size": 8}}
  record = {
    "kind": "classification",
    "top_1": 0.625,
    "protocol": {"num_examples": 3, "data_digest": "abc"},
  }
  details = {
    "groups": {"region": rows, "country": rows[:1]},
    "gaps": {
      "region": {"gap": 0.25, "interval": [0.125, 0.375]},
      "country": {"gap": None, "interval": None},
    },
    "audit": {"warnings": []},
  }
  page = evaluation_page.render(
    "t", {"geode": record, "model": model, "means": []}, {"geode": details}
  )
  by_region, by_country = page.split("By region")[1].split("By country")
  assert "<td>gap</td><td>0.250</td>" in by_region
  assert "0.125–0.375" in by_region
  assert "gap" not in by_country.split("</table>")[0]

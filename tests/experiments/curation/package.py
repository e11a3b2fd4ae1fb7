"""A folder as of the npm package @iconify/json, with icons that are drawn."""

import json
import pathlib


def write(folder: pathlib.Path, sets: dict[str, list[str]]) -> None:
  """Write sets of icons: prefix -> names, each icon a circle of its own.

  "copyleft" is of a licence, and "withdrawn" of a state, that is not used.
  """
  (folder / "json").mkdir(parents=True)
  collections = {}
  number = 0
  for prefix, names in sets.items():
    spdx = "GPL-3.0" if prefix == "copyleft" else "MIT"
    collections[prefix] = {
      "name": prefix.title(),
      "license": {"spdx": spdx},
      "hidden": prefix == "withdrawn",
    }
    icons = {}
    for name in names:
      number += 1
      # A radius and a place that no other has.
      body = f'<circle cx="{8 + number % 8}" cy="8" r="{1 + number / 20}"/>'
      icons[name] = {"body": body}
    icons["gone"] = {"body": "", "hidden": True}
    drawn = {"icons": icons, "width": 24, "height": 24}
    (folder / "json" / f"{prefix}.json").write_text(json.dumps(drawn))
  (folder / "collections.json").write_text(json.dumps(collections))
  (folder / "package.json").write_text(json.dumps({"version": "1.2.3"}))

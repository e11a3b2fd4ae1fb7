"""Write evaluators/sets/data/clip_benchmark.json from clip-benchmark's wheel.

python tests/evaluators/sets/make_names.py clip_benchmark-1.6.2-*.whl
(pip download --no-deps clip-benchmark==1.6.2). The wheel is MIT; its licence
lies beside the JSON file.
"""

import ast
import json
import pathlib
import re
import sys
import zipfile

DATA = pathlib.Path("evaluators/sets/data")
FOLDER = "clip_benchmark/datasets"
# Sets of neither suite.
OTHERS = ("fer2013", "caltech101", "dummy")
WNID = re.compile(r"n\d{8}")


def main(wheel: str) -> None:
  """Write the file, a line for each set."""
  with zipfile.ZipFile(wheel) as opened:
    names = json.loads(opened.read(f"{FOLDER}/en_classnames.json"))
    templates = json.loads(
      opened.read(f"{FOLDER}/en_zeroshot_classification_templates.json")
    )
    code = opened.read(f"{FOLDER}/builder.py").decode()
  lists = {
    target.id: list(ast.literal_eval(node.value))
    for node in ast.walk(ast.parse(code))
    if isinstance(node, ast.Assign)
    and isinstance(target := node.targets[0], ast.Name)
    and "wnids"
    in target.id + "wnids" * (target.id == "all_imagenet_wordnet_ids")
    and isinstance(node.value, ast.List | ast.Set)
  }
  wnids = lists["all_imagenet_wordnet_ids"]
  value = {
    "classes": {
      name: names[name] for name in sorted(names) if name not in OTHERS
    },
    "templates": {
      name: templates[name] for name in sorted(templates) if name != "dummy"
    },
    "synsets": {"imagenet1k": wnids},
    "subsets": {
      f"imagenet-{letter}": sorted(
        map(wnids.index, lists[f"imagenet_{letter}_wnids"])
      )
      for letter in "aor"
    },
  }
  parts = []
  for part, lines in value.items():
    rows = ",\n".join(
      f"  {json.dumps(name)}: {json.dumps(row, ensure_ascii=False)}"
      for name, row in lines.items()
    )
    parts.append(f' "{part}": {{\n{rows}\n }}')
  DATA.joinpath("clip_benchmark.json").write_text(
    "{\n" + ",\n".join(parts) + "\n}\n", "utf-8"
  )


if __name__ == "__main__":
  main(sys.argv[1])

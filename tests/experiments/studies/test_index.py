"""Index of experiments: in README.md, and as a page."""

import html.parser
import pathlib
import re

import pytest

from experiments.studies import index, index_page, report
from runtime import failures
from tests.experiments.studies import synthetic

_FOUND = """
- **B is better.** Text with **bold** words.
- Text without.
- **It <is>
  not at 64**: more.

<!-- recipe -->
- **A size.**
<!-- /recipe -->
"""
_ROOT = pathlib.Path(__file__).parents[3] / "experiments"


@pytest.fixture
def root(tmp_path):
  root = tmp_path / "experiments"
  synthetic.write_sweep(tmp_path / "sweep")
  done = synthetic.write_study(root / "done", synthetic.README + _FOUND)
  report.write(done, str(tmp_path / "sweep"))
  waiting = "# B & <c>\n\n<!-- results -->\n<!-- /results -->\n- **No.** X\n"
  synthetic.write_study(root / "waiting", waiting)
  (root / "parts" / "old").mkdir(parents=True)
  (root / "parts" / "old" / "README.md").write_text("# Old [one]\n\nText.\n")
  (root / "README.md").write_text("# All\n\n<!-- index -->\n<!-- /index -->\n")
  return root


def test_the_index_has_claims_results_and_links(root):
  text = index.text(root)
  assert "| [A study](done/README.md) | B is better than A at small" in text
  assert (
    "batches. (arXiv 0000.00000, table 1) | B is better. It <is> not at 64."
    " Figures: b, 16 - a, 16: +0.110 R@1"
  ) in text
  assert " of 3 tests have p < 0.05 after it. | ![chart of done](done/spa" in (
    text
  )
  assert re.search(
    r"\| \[B & <c>\]\(waiting/README.md\) .*\| not yet run", text
  )
  assert "- [Old \\[one\\]](parts/old/README.md)" in text
  # All linked files are there.
  for link in re.findall(r"\]\(([^)]*)\)", text):
    assert (root / link).is_file(), link
  # The text of a rewritten file is the same.
  (root / "README.md").write_text(text)
  assert index.text(root) == text


def test_the_index_of_this_repository_is_what_the_command_writes():
  assert (_ROOT / "README.md").read_text() == index.text(_ROOT)


def test_a_study_without_comparisons_has_its_best_arm(root):
  entry = index.entries(root)[0]
  study = synthetic.make(comparisons=())
  text = index.result(
    index.Entry(entry.name, entry.title, study, entry.outcome)
  )
  # By hand: the mean of 0.31, 0.29, 0.36 and of 0.30, 0.31, 0.35 is 0.320.
  assert text.startswith(("b, 64: R@1 0.320", "a, 64: R@1 0.320"))
  assert text.endswith("the highest of 4 arms")


class _Page(html.parser.HTMLParser):
  """Tags and addresses of a page."""

  def __init__(self):
    super().__init__()
    self.tags, self.links = [], []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]


def test_the_page_has_charts_and_loads_nothing(root, tmp_path, capsys):
  assert index_page.run(str(root), str(tmp_path / "out")) == 0
  assert capsys.readouterr().out.strip() == index.table(index.entries(root))
  text = (tmp_path / "out" / "studies.html").read_text()
  page = _Page()
  page.feed(text)
  assert "script" not in page.tags
  assert page.tags.count("figure") == 1
  assert all(x.startswith(("#", "data:")) for x in page.links), page.links
  for shown in (
    "B &amp; &lt;c&gt;",
    "not yet run",
    "<li>B is better.</li>",
    "It &lt;is&gt; not at 64.",
    "b, 16 - a, 16",
    "loss a",
    "0.120 ± 0.020",
    "p, Holm over 3",
    "Old [one]",
  ):
    assert shown in text, shown


def test_a_folder_without_experiments_is_refused(tmp_path):
  with pytest.raises(failures.RunError, match="--studies=.* must be a folder"):
    index.entries(tmp_path)
  (tmp_path / "x").mkdir()
  (tmp_path / "x" / "README.md").write_text("No title\n")
  with pytest.raises(failures.RunError, match="must have a title"):
    index.entries(tmp_path)

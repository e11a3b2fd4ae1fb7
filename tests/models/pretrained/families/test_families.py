"""Every published family is told from the others."""

import pytest

from models.pretrained import families, opening
from tests.models.pretrained import goldens


@pytest.mark.parametrize("golden", goldens.MODELS)
def test_each_family_is_told_from_the_others(golden):
  files, _ = goldens.read(goldens.FOLDER / f"{golden}.npz")
  names = [families.name(x) for x in families.FAMILIES if x.recognises(files)]
  assert names == [goldens.family_name(golden)]


def test_an_unknown_family(tmp_path):
  files = opening.PublishedFiles(
    tmp_path, {"model_type": "llama"}, {"a": 0, "b": 1}
  )
  with pytest.raises(
    ValueError, match=r"no family .*hf_clip.*'llama', and its 2 .* a, b$"
  ):
    families.find(files)

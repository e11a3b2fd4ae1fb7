"""Tensors become parameters and come back, and every one is accounted for."""

import numpy as np
import pytest

from models.pretrained import forms, mapping


def _random(*shape):
  return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
  ("form", "there", "here"),
  [
    (forms.SAME, [(2, 3)], [(2, 3)]),
    (forms.DENSE, [(2, 3)], [(3, 2)]),
    (forms.CONV, [(5, 3, 2, 4)], [(2, 4, 3, 5)]),
    (forms.ROW, [(3,)], [(1, 3)]),
    (forms.BATCHED, [(1, 2, 3)], [(2, 3)]),
    (forms.kernels(3), [(6, 4)], [(4, 2)] * 3),
    (forms.biases(3), [(6,)], [(2,)] * 3),
    (forms.patch(2), [(5, 3, 2, 2)], [(12, 5)]),
  ],
)
def test_a_form_can_be_undone(form, there, here):
  arrays = [_random(*shape) for shape in there]
  loaded = form.load(arrays)
  assert [x.shape for x in loaded] == here
  for got, expected in zip(form.save(loaded), arrays, strict=True):
    np.testing.assert_array_equal(got, expected)


def test_a_patch_is_flattened_as_the_tower_does():
  # One output: the kernel's entry of row y, column x, channel c.
  kernel = forms.patch(2).load([_random(1, 3, 2, 2)])[0]
  there = _random(1, 3, 2, 2)[0]
  expected = [there[c, y, x] for y in (0, 1) for x in (0, 1) for c in range(3)]
  np.testing.assert_array_equal(kernel[:, 0], expected)


LINKS = (
  mapping.link("img/blocks/mlp/kernel", "v.{layer}.w", forms.DENSE),
  mapping.link(
    [f"img/blocks/attn/{x}/bias" for x in ("query", "key", "value")],
    "v.{layer}.in_b",
    forms.biases(3),
  ),
  mapping.link("img/position", "v.pos", resize=lambda x, shape: x[: shape[0]]),
  mapping.link("txt/norm/scale", "t.norm"),
  mapping.link("log_scale", "scale"),
)
PARAMS = {
  "img/blocks/mlp/kernel": _random(2, 3, 4),
  "img/blocks/attn/query/bias": _random(2, 5),
  "img/blocks/attn/key/bias": 2 * _random(2, 5),
  "img/blocks/attn/value/bias": 3 * _random(2, 5),
  "img/position": _random(4, 3),
  "txt/norm/scale": _random(3),
  "log_scale": np.asarray(0.3, np.float32),
}


def test_there_and_back_to_the_bit():
  tensors = mapping.save(LINKS, PARAMS)
  assert list(tensors) == [
    "v.0.w",
    "v.1.w",
    "v.0.in_b",
    "v.1.in_b",
    "v.pos",
    "t.norm",
    "scale",
  ]
  np.testing.assert_array_equal(
    tensors["v.1.w"], PARAMS["img/blocks/mlp/kernel"][1].T
  )
  assert tensors["scale"].shape == ()
  assert all(x.flags["C_CONTIGUOUS"] for x in tensors.values())
  loaded = mapping.load(LINKS, tensors, mapping.nested(PARAMS))
  assert loaded.keys() == PARAMS.keys()
  for path, array in PARAMS.items():
    assert loaded[path].tobytes() == array.tobytes()
    assert loaded[path].shape == array.shape


def _problems(tensors, params=PARAMS, **kwargs):
  with pytest.raises(mapping.MappingError) as caught:
    mapping.load(LINKS, tensors, mapping.nested(params), **kwargs)
  return caught.value.problems, str(caught.value)


def test_everything_that_is_wrong_is_listed():
  tensors = mapping.save(LINKS, PARAMS)
  del tensors["v.1.w"]
  tensors["head"] = _random(2)
  tensors["t.norm"] = _random(7)
  params = PARAMS | {"txt/new": _random(1)}
  problems, text = _problems(tensors, params)
  assert problems == {
    "missing": ["v.1.w (for img/blocks/mlp/kernel)"],
    "of another shape": ["t.norm: expected (3,) for txt/norm/scale; got (7,)"],
    "left over": ["head"],
    "not to be filled (no tensor is known)": ["txt/new"],
  }
  for items in problems.values():
    assert items[0] in text


def test_layers_more_and_less_than_ours():
  tensors = mapping.save(LINKS, PARAMS)
  tensors["v.2.w"] = tensors["v.1.w"]
  assert _problems(tensors)[0] == {"left over": ["v.2.w"]}
  deeper = PARAMS | {"img/blocks/mlp/kernel": _random(4, 3, 4)}
  missing = ["v.3.w (for img/blocks/mlp/kernel)"]
  assert _problems(tensors, deeper)[0] == {"missing": missing}


def test_layers_of_unequal_shapes_and_a_form_that_does_not_fit():
  tensors = mapping.save(LINKS, PARAMS)
  tensors["v.1.w"] = _random(7, 7)
  tensors["v.0.in_b"] = _random(16)  # no three equal parts
  problems, _ = _problems(tensors)
  assert [x.split(":")[0] for x in problems["of another shape"]] == [
    "v.0.w",
    "v.0.in_b",
  ]


def test_a_long_list_is_cut():
  tensors = mapping.save(LINKS, PARAMS) | {
    f"x{i}": _random(1) for i in range(30)
  }
  problems, text = _problems(tensors)
  assert len(problems["left over"]) == 30
  assert "30 left over" in text
  assert "x3 and 26 more" in text
  assert "x4" not in text
  assert "\n" not in text


def test_ignored_names_match_whole():
  tensors = mapping.save(LINKS, PARAMS) | {"v.ids": _random(1)}
  mapping.load(LINKS, tensors, mapping.nested(PARAMS), ignored=(r"v\.ids",))
  assert _problems(tensors, ignored=("v",))[0] == {"left over": ["v.ids"]}


def test_one_tower_accounts_for_the_other():
  tensors = mapping.save(LINKS, PARAMS)
  got = mapping.load(LINKS, tensors, mapping.nested(PARAMS), prefix="txt/")
  assert list(got) == ["txt/norm/scale"]
  # Layers that are not wanted are counted in the file.
  text_only = mapping.nested({"txt/norm/scale": _random(3)})
  assert mapping.load(LINKS, tensors, text_only, prefix="txt/").keys() == (
    got.keys()
  )


def test_positions_are_resized_only_where_they_differ():
  tensors = mapping.save(LINKS, PARAMS)
  shorter = PARAMS | {"img/position": _random(2, 3)}
  got = mapping.load(LINKS, tensors, mapping.nested(shorter))
  np.testing.assert_array_equal(got["img/position"], tensors["v.pos"][:2])


def test_an_optional_link_is_all_there_or_not_at_all():
  links = (mapping.link("a", ("x", "y"), forms.biases(3), optional=True),)
  assert mapping.load(links, {}, {"a": _random(1)}) == {}
  with pytest.raises(mapping.MappingError, match=r"1 missing: y \(for a\)"):
    mapping.load(links, {"x": _random(3)}, {"a": _random(1)})


def test_a_parameter_without_a_name_there():
  with pytest.raises(mapping.MappingError, match="without a name there: b"):
    mapping.save(LINKS, {"b": _random(1)})

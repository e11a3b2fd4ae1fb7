"""Confusion of classes as a drawing, in the colours of page.css."""

from collections.abc import Sequence

import jinja2
import numpy as np
from markupsafe import Markup

# Steps of a colour, and characters of a name.
_NUM_SHADES = 8
_NUM_CHARACTERS = 20
_LABEL = 132


def svg(names: Sequence[str], cells: Sequence[Sequence[int]]) -> Markup:
  """Return a heat map: a row a class, a column a predicted class.

  The shade of a cell is its share of the row's examples; the diagonal, which is
  right, has a colour of its own.

  Args:
    names: names of A classes.
    cells: label, predicted class and count, of each pair that occurs.
  """
  share_AA = np.zeros((len(names), len(names)))
  for label, predicted, count in cells:
    share_AA[label, predicted] = count
  total_A1 = share_AA.sum(axis=1, keepdims=True)
  share_AA /= np.maximum(total_A1, 1)
  # Above 0, each cell has some colour.
  shade_AA = np.ceil(share_AA * _NUM_SHADES).astype(int)
  is_right_AA = np.eye(len(names), dtype=bool)
  side = 15 if len(names) > 24 else 22 if len(names) > 10 else 34
  paths = [
    {
      "color": color,
      "opacity": f"{shade / _NUM_SHADES:.3f}",
      "cells": "".join(
        f"M{x} {y}h1v1h-1z"
        for y, x in np.argwhere((shade_AA == shade) & is_in_AA)
      ),
    }
    for color, is_in_AA in (
      ("var(--right)", is_right_AA),
      ("var(--series-2)", ~is_right_AA),
    )
    for shade in range(1, _NUM_SHADES + 1)
  ]
  numbers = [
    (x, y, f"{100 * share_AA[y, x]:.0f}")
    for y, x in np.argwhere(shade_AA > 0)
    if side == 34
  ]
  return Markup(
    _TEMPLATE.render(
      names=[
        name
        if len(name) <= _NUM_CHARACTERS
        else name[: _NUM_CHARACTERS - 1] + "…"
        for name in names
      ],
      paths=[path for path in paths if path["cells"]],
      numbers=numbers,
      side=side,
      label=_LABEL,
      size=len(names) * side,
    )
  )


_TEMPLATE = jinja2.Environment(
  autoescape=True, trim_blocks=True, lstrip_blocks=True
).from_string("""\
<svg class="heat" role="img" aria-label="confusion of {{ names | length }} \
classes" width="{{ label + size + 1 }}" height="{{ label + size + 1 }}" \
font-size="11" fill="currentColor">
{% for name in names %}
<text x="{{ label - 6 }}" y="{{ label + (loop.index0 + 0.5) * side + 4 }}" \
text-anchor="end">{{ name }}</text>
<text transform="translate({{ label + (loop.index0 + 0.5) * side + 4 }} \
{{ label - 6 }}) rotate(-90)">{{ name }}</text>
{% endfor %}
<rect x="{{ label }}" y="{{ label }}" width="{{ size }}" height="{{ size }}" \
fill="none" stroke="var(--line)"/>
{% for path in paths %}
<path transform="translate({{ label }} {{ label }}) scale({{ side }})" \
fill="{{ path.color }}" fill-opacity="{{ path.opacity }}" d="{{ path.cells }}"/>
{% endfor %}
{% for x, y, number in numbers %}
<text x="{{ label + (x + 0.5) * side }}" y="{{ label + (y + 0.5) * side + 4 }}"\
 text-anchor="middle">{{ number }}</text>
{% endfor %}
</svg>""")

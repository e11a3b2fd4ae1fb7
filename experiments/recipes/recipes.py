"""All recipes, in the order in which they are planned."""

from collections.abc import Iterable

from experiments.recipes import domains, recipe, web

RECIPES = {x.name: x for x in (*domains.RECIPES, *web.RECIPES)}


def named(names: Iterable[str]) -> list[recipe.Recipe]:
  """Return recipes by name, all of them without any.

  Raises:
    ValueError: no recipe has a name.
  """
  names = [*names] or [*RECIPES]
  unknown = [name for name in names if name not in RECIPES]
  if unknown:
    raise ValueError(
      f"--only must have names of recipes; got {', '.join(unknown)}; known:"
      f" {', '.join(RECIPES)}"
    )
  return [RECIPES[name] for name in names]

"""Objects on the sample photographs of packages, in words of ImageNet-1k.

All pictures that the wheels of scikit-image, scikit-learn and matplotlib hold,
each with the labels that a person would accept for its main object. The rules:

- The object decides, and the list of the 1000 classes; no model was asked. What
  was written down once is not changed by what a model says.
- ImageNet has no class for people: where somebody is the main object, what they
  wear or use counts.
- A label must be true of the object: a motorcycle is no moped, a dahlia no
  daisy. Where no class is true, the photograph is out, for that reason alone.
- Kinds that a face alone does not tell apart (three of cats) all count.
- Drawings, computed pictures, textures without an object and pictures through a
  microscope are no photographs of objects. One that is spoilt on purpose (a
  clock, blurred by motion) is.

Five of the seven (all but the clock and the officer) had been seen by the model
before this list was made, and their labels are no blind choice.
"""

import dataclasses
import pathlib
import types


@dataclasses.dataclass(frozen=True)
class Photo:
  """A photograph whose object is a class.

  Attributes:
    path: in its package.
    labels: ImageNet-1k's indices, with their names.
  """

  path: str
  labels: dict[int, str]


PHOTOS = {
  "skimage": (
    Photo("data/camera.png", {872: "tripod", 759: "reflex camera"}),
    Photo(
      "data/chelsea.png", {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}
    ),
    Photo("data/clock_motion.png", {409: "analog clock", 892: "wall clock"}),
    Photo("data/coffee.png", {967: "espresso", 968: "cup"}),
    Photo("data/rocket.jpg", {657: "missile", 744: "projectile"}),
  ),
  "sklearn": (
    # A tower of the Summer Palace, built as a shrine.
    Photo("datasets/images/china.jpg", {698: "palace", 832: "stupa"}),
  ),
  "matplotlib": (
    Photo("mpl-data/sample_data/grace_hopper.jpg", {652: "military uniform"}),
  ),
}

# By package, why each of the other pictures is out.
OUT = {
  "skimage": {
    "data/astronaut.png": "a space suit is no class",
    "data/brick.png": "a texture",
    "data/cell.png": "through a microscope",
    "data/chessboard_GRAY.png": "computed",
    "data/chessboard_RGB.png": "computed",
    "data/coins.png": "coins are no class",
    "data/color.png": "computed",
    "data/grass.png": "a texture",
    "data/gravel.png": "a texture",
    "data/horse.png": "a drawing",
    "data/hubble_deep_field.jpg": "galaxies are no class",
    "data/ihc.png": "through a microscope",
    "data/logo.png": "a drawing",
    "data/microaneurysms.png": "a retina is no class",
    "data/moon.png": "the moon is no class",
    "data/motorcycle_left.png": "a motorcycle is no class",
    "data/motorcycle_right.png": "a motorcycle is no class",
    "data/multipage.tif": "computed",
    "data/multipage_rgb.tif": "computed",
    "data/no_time_for_that_tiny.gif": "14 x 25 pixels of a film",
    "data/page.png": "a page is no class",
    "data/phantom.png": "computed",
    "data/retina.jpg": "a retina is no class",
    "data/text.png": "handwriting is no class",
  },
  "sklearn": {"datasets/images/flower.jpg": "a dahlia is no class"},
  "matplotlib": {
    "mpl-data/sample_data/Minduka_Present_Blue_Pack.png": "a drawing",
    "mpl-data/sample_data/logo2.png": "a drawing",
  },
}
_FOLDERS = {
  "skimage": "data",
  "sklearn": "datasets/images",
  "matplotlib": "mpl-data/sample_data",
}
_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff")


def missing(package: types.ModuleType) -> list[str]:
  """Return the pictures of a package of which nothing is written here."""
  name = package.__name__
  root = pathlib.Path(str(package.__file__)).parent
  known = {photo.path for photo in PHOTOS[name]} | OUT[name].keys()
  return sorted(
    path
    for file in (root / _FOLDERS[name]).iterdir()
    if file.suffix.lower() in _SUFFIXES
    and (path := file.relative_to(root).as_posix()) not in known
  )

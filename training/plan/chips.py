"""Figures of TPU chips that a plan is measured against.

All figures except `usable_hbm_gib` are from the pages of Google Cloud's TPU
documentation named in `source`, read in 2026-11. `usable_hbm_gib` is the limit
of XLA's TPU compiler (libtpu 0.0.42), in the text of its "Ran out of memory"
errors.
"""

import dataclasses
import types
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Chip:
  """One kind of chip; rates in units of 1e9 a second.

  Attributes:
    peak_gflops: rate of bfloat16 matrix arithmetic.
    hbm_gib: memory on the chip.
    usable_hbm_gib: part of the memory that a program may use.
    hbm_gb_s: bandwidth of the memory.
    ici_gb_s: rate at which a chip can send to others of its slice over all its
      links together: half of the documented sum of both directions.
    dcn_gb_s: rate at which a chip can send to other slices, its share of the
      host's or pod's network; None if no figure is published.
    dimensions: dimensions of the torus that a slice is part of.
    source: pages of the documentation.
    config_name: name of the compiler's configuration; "" for the default.
  """

  name: str
  peak_gflops: float
  hbm_gib: float
  usable_hbm_gib: float
  hbm_gb_s: float
  ici_gb_s: float
  dcn_gb_s: float | None
  dimensions: int
  source: str
  config_name: str = ""


_PAGES = "docs.cloud.google.com/tpu/docs/"

CHIPS: Mapping[str, Chip] = types.MappingProxyType(
  {
    chip.name: chip
    for chip in (
      Chip(
        name="v4",
        peak_gflops=275e3,
        hbm_gib=32,
        usable_hbm_gib=30.75,
        hbm_gb_s=1200,
        # Derived, since the page has only the all-reduce bandwidth of a pod,
        # 1.1 PB/s for 4096 chips; for v5e and v6e that quotient is exactly
        # half of the documented bidirectional bandwidth of a chip.
        ici_gb_s=1.1e6 / 4096,
        dcn_gb_s=None,
        dimensions=3,
        source=_PAGES + "v4",
        # Makes both cores of a chip one device, as JAX does on a real chip.
        config_name="megacore",
      ),
      Chip(
        name="v5e",
        peak_gflops=197e3,
        hbm_gib=16,
        usable_hbm_gib=15.75,
        hbm_gb_s=819,
        ici_gb_s=400 / 2,
        dcn_gb_s=6400 / 8 / 256,  # 6.4 Tbit/s for a pod of 256 chips
        dimensions=2,
        source=_PAGES + "v5e",
      ),
      Chip(
        name="v5p",
        peak_gflops=459e3,
        # The page has 95 GB in some versions and 95 GiB in others; the
        # compiler allows 95.74 GiB.
        hbm_gib=95.74,
        usable_hbm_gib=95.74,
        hbm_gb_s=2765,
        ici_gb_s=1200 / 2,
        dcn_gb_s=50 / 8,  # 50 Gbit/s for a chip
        dimensions=3,
        source=_PAGES + "v5p",
      ),
      Chip(
        name="v6e",
        peak_gflops=918e3,
        hbm_gib=32,
        usable_hbm_gib=31.25,
        hbm_gb_s=1638,
        ici_gb_s=800 / 2,
        dcn_gb_s=25600 / 8 / 256,  # 25.6 Tbit/s for a pod of 256 chips
        dimensions=2,
        source=_PAGES + "v6e",
      ),
    )
  }
)

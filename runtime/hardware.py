"""Hardware of this machine, and the energy that it counts itself."""

import contextlib
import ctypes
import os
import pathlib
import platform

_POWERCAP = pathlib.Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"
_CPU_INFO = pathlib.Path("/proc/cpuinfo")
_GIB = 2**30


def describe() -> dict[str, str | int | float]:
  """Return the machine's system, CPU model, usable cores and memory in GiB."""
  return {
    "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    "cpu": _cpu_model(),
    "cores": len(os.sched_getaffinity(0)),
    "memory_gib": round(
      os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 1
    ),
  }


def _cpu_model(path: pathlib.Path = _CPU_INFO) -> str:
  """Return the CPU's name and, where Linux tells them, what tells kinds apart.

  Virtual machines call unlike processors by one name, such as "AMD EPYC", and
  their results differ in the last bits.
  """
  fields: dict[str, str] = {}
  with contextlib.suppress(OSError):
    for line in path.read_text().splitlines():
      name, _, value = line.partition(":")
      fields.setdefault(name.strip(), value.strip())
  model = fields.get("model name") or platform.processor() or "unknown"
  kinds = {"family": "cpu family", "model": "model", "stepping": "stepping"}
  known = [f"{name} {fields[x]}" for name, x in kinds.items() if fields.get(x)]
  return f"{model} ({', '.join(known)})" if known else model


class Energy:
  """Energy since this was made, as counters of the hardware tell it.

  They are those of CPU packages and their memory (RAPL, which only root may
  read on most machines) and of NVIDIA GPUs (NVML); what other programs use is
  counted too. Nothing is estimated: without a counter there is no figure.
  """

  def __init__(
    self, num_gpus: int, powercap: pathlib.Path = _POWERCAP, nvml: str = _NVML
  ):
    """Read the counters for the first time.

    Args:
      num_gpus: NVIDIA GPUs that the run uses on this machine.
      powercap: folder of RAPL's counters.
      nvml: name of NVIDIA's library.
    """
    self._zones = _rapl(powercap)
    self._nvml = _Nvml.opened(nvml, num_gpus) if num_gpus else None
    self._last: dict[pathlib.Path, int] = {}
    self._joules = 0.0
    self._gpu_start = self._nvml.joules() if self._nvml else None
    self.joules()

  def joules(self) -> dict[str, float]:
    """Return joules by "cpu" and "gpu", without what is not measured.

    A counter of RAPL begins anew after minutes to hours: call this at least
    each minute.
    """
    measured = {}
    try:
      for zone, limit in self._zones.items():
        value = int((zone / "energy_uj").read_text())
        used = value - self._last.get(zone, value)
        self._joules += (used if used >= 0 else used + limit) / 1e6
        self._last[zone] = value
      if self._zones:
        measured["cpu"] = self._joules
    except (OSError, ValueError):
      self._zones = {}
    if self._nvml is not None and self._gpu_start is not None:
      now = self._nvml.joules()
      if now is not None:
        measured["gpu"] = now - self._gpu_start
    return measured


def _rapl(folder: pathlib.Path) -> dict[pathlib.Path, int]:
  """Return the zones of packages and memory, and where each begins anew."""
  zones = {}
  for zone in sorted(folder.glob("intel-rapl:*")):
    try:
      name = (zone / "name").read_text().strip()
      # Cores are part of their package, which "psys" holds too.
      if name.startswith("package") or name == "dram":
        int((zone / "energy_uj").read_text())
        zones[zone] = int((zone / "max_energy_range_uj").read_text())
    except (OSError, ValueError):
      return {}  # a part would look like the whole
  return zones


class _Nvml:
  """NVIDIA's library, and the GPUs that this process uses."""

  def __init__(self, library: ctypes.CDLL, devices: list[ctypes.c_void_p]):
    self._library, self._devices = library, devices

  @classmethod
  def opened(cls, name: str, num_gpus: int) -> "_Nvml | None":
    """Return the library; None where it does not tell these GPUs' energy."""
    try:
      library = ctypes.CDLL(name)
    except OSError:
      return None
    count = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(
      ctypes.byref(count)
    ):
      return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    keys = [key.strip() for key in visible.split(",") if key.strip()]
    keys = keys or [str(index) for index in range(count.value)]
    devices = []
    for key in keys[:num_gpus]:
      device = ctypes.c_void_p()
      failed = (
        library.nvmlDeviceGetHandleByIndex_v2(
          ctypes.c_uint(int(key)), ctypes.byref(device)
        )
        if key.isdecimal()
        else library.nvmlDeviceGetHandleByUUID(
          key.encode(), ctypes.byref(device)
        )
      )
      if failed:
        return None
      devices.append(device)
    opened = cls(library, devices)
    is_whole = len(devices) == num_gpus and opened.joules() is not None
    return opened if is_whole else None

  def joules(self) -> float | None:
    """Return the energy of the GPUs since their driver was loaded."""
    total = 0
    for device in self._devices:
      value = ctypes.c_ulonglong()
      if self._library.nvmlDeviceGetTotalEnergyConsumption(
        device, ctypes.byref(value)
      ):
        return None
      total += value.value  # millijoules
    return total / 1e3

"""Hardware as this machine describes it, and its counters of energy."""

import pytest

from runtime import hardware


def test_description():
  described = hardware.describe()
  assert described["cpu"]
  assert described["cores"] >= 1
  assert described["memory_gib"] > 0.1


def test_processors_of_one_name_are_told_apart(tmp_path):
  info = tmp_path / "cpuinfo"
  # The first processor's lines; ARM has no such names.
  info.write_text(
    "model name\t: AMD EPYC\ncpu family\t: 25\nmodel\t\t: 17\nstepping\t: 1\n"
    "\nmodel name\t: another\n"
  )
  assert (
    hardware._cpu_model(info) == "AMD EPYC (family 25, model 17, stepping 1)"
  )
  info.write_text("processor\t: 0\n")
  assert "family" not in hardware._cpu_model(info)
  assert hardware._cpu_model(tmp_path / "none")


def _zone(folder, number, name, microjoules, limit=1_000_000):
  zone = folder / f"intel-rapl:{number}"
  zone.mkdir(exist_ok=True)
  (zone / "name").write_text(f"{name}\n")
  (zone / "energy_uj").write_text(f"{microjoules}\n")
  (zone / "max_energy_range_uj").write_text(f"{limit}\n")
  return zone


def test_packages_and_memory_count_once(tmp_path):
  zones = [
    _zone(tmp_path, "0", "package-0", 500_000),
    _zone(tmp_path, "0:0", "core", 100),
    _zone(tmp_path, "0:1", "dram", 10),
    _zone(tmp_path, "1", "package-1", 900_000),
    _zone(tmp_path, "2", "psys", 5),
  ]
  energy = hardware.Energy(0, tmp_path)
  assert energy.joules() == {"cpu": 0.0}
  for zone, value in zip(
    zones, (700_000, 900_000, 50_010, 100_000, 900_000), strict=True
  ):
    (zone / "energy_uj").write_text(f"{value}\n")
  # 0.2 J, 0.05 J and, as the counter began anew, 0.2 J.
  assert energy.joules() == {"cpu": pytest.approx(0.45)}
  assert energy.joules() == {"cpu": pytest.approx(0.45)}


def test_what_cannot_be_read_is_not_measured(tmp_path):
  assert hardware.Energy(0, tmp_path / "none").joules() == {}
  zone = _zone(tmp_path, "0", "package-0", 1)
  _zone(tmp_path, "1", "package-1", 1)
  (zone / "energy_uj").write_text("no number")  # as without the right to read
  assert hardware.Energy(0, tmp_path).joules() == {}


def test_a_counter_that_vanishes_ends_the_measurement(tmp_path):
  zone = _zone(tmp_path, "0", "package-0", 1)
  energy = hardware.Energy(0, tmp_path)
  assert energy.joules() == {"cpu": 0.0}
  (zone / "energy_uj").unlink()
  assert energy.joules() == {}


class _Library:
  """Functions of NVML for two GPUs, which use 1 J and 3 J between questions."""

  def __init__(self, name):
    if name != "nvml":
      raise OSError(name)
    self._millijoules = [1000, 5000]

  def nvmlInit_v2(self):
    return 0

  def nvmlDeviceGetCount_v2(self, count):
    count._obj.value = 2
    return 0

  def nvmlDeviceGetHandleByIndex_v2(self, index, device):
    device._obj.value = index.value + 1
    return 0 if index.value < 2 else 2

  def nvmlDeviceGetHandleByUUID(self, name, device):
    device._obj.value = 2
    return 0 if name == b"GPU-b" else 6

  def nvmlDeviceGetTotalEnergyConsumption(self, device, value):
    number = device.value - 1
    self._millijoules[number] += (1000, 3000)[number]
    value._obj.value = self._millijoules[number]
    return 0


@pytest.fixture(autouse=True)
def _nvml(monkeypatch):
  monkeypatch.setattr(hardware.ctypes, "CDLL", _Library)


@pytest.mark.parametrize(
  ("visible", "num_gpus", "joules"),
  [
    (None, 2, 8.0),  # both, asked twice
    ("1", 1, 6.0),
    ("GPU-b", 1, 6.0),
    ("0", 1, 2.0),
  ],
)
def test_gpus_that_the_run_uses(
  tmp_path, monkeypatch, visible, num_gpus, joules
):
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  if visible:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
  energy = hardware.Energy(num_gpus, tmp_path, "nvml")
  assert energy.joules() == {"gpu": joules}
  assert energy.joules() == {"gpu": joules * 1.5}


@pytest.mark.parametrize(
  ("visible", "num_gpus"), [("3", 1), ("GPU-other", 1), ("0", 2)]
)
def test_gpus_that_are_not_known(tmp_path, monkeypatch, visible, num_gpus):
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
  assert hardware.Energy(num_gpus, tmp_path, "nvml").joules() == {}
  assert hardware.Energy(1, tmp_path, "no-such-library.so").joules() == {}

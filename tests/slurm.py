"""Slurm on this machine for tests: munged, slurmctld, slurmd of one node."""

import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_SECONDS = 120
_CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin={task_plugin}
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=bf_interval=1,sched_interval=1
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=60 State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""


def missing() -> list[str]:
  """Return the programs that this machine lacks."""
  path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
  lacking = [name for name in PROGRAMS if not shutil.which(name, path=path)]
  return lacking if os.geteuid() == 0 else [*lacking, "root"]


@dataclasses.dataclass
class Slurm:
  """A cluster of one node with two processors.

  Attributes:
    folder: state, sockets and logs.
    is_bound: whether a task and its threads stay on the processors that are
      its own, as on a cluster.
  """

  folder: pathlib.Path
  is_bound: bool = False
  _daemons: list[subprocess.Popen] = dataclasses.field(default_factory=list)

  @property
  def env(self) -> dict[str, str]:
    """Environment in which Slurm's programs talk to this cluster."""
    sbin = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return {
      **os.environ,
      "SLURM_CONF": str(self.folder / "slurm.conf"),
      "PATH": sbin,
    }

  def start(self) -> None:
    """Start the daemons; return when the node is idle."""
    for name in ("state", "spool"):
      (self.folder / name).mkdir(parents=True)
    key = self.folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (self.folder / "slurm.conf").write_text(
      _CONFIG.format(
        host=socket.gethostname(),
        folder=self.folder,
        ports=_ports(2),
        task_plugin="task/affinity" if self.is_bound else "task/none",
      )
    )
    self._daemon(
      *("munged", "--force", "--foreground"),
      f"--key-file={key}",
      f"--socket={self.folder}/munge.sock",
      f"--pid-file={self.folder}/munged.pid",
      f"--log-file={self.folder}/munged.log",
      f"--seed-file={self.folder}/munge.seed",
    )
    self._wait(lambda: (self.folder / "munge.sock").exists())
    for name in ("slurmctld", "slurmd"):
      self._daemon(name, "-D", "-f", str(self.folder / "slurm.conf"))
    self._wait(
      lambda: self.call("sinfo", "-h", "-o", "%T", "-p", "low") == "idle"
    )

  def stop(self) -> None:
    """Cancel all jobs and end the daemons."""
    subprocess.run(
      ["scancel", "--full", "--signal=KILL", "--user=root"],
      env=self.env,
      check=False,
    )
    for daemon in reversed(self._daemons):
      os.killpg(daemon.pid, signal.SIGKILL)
      daemon.wait()

  def call(self, *command: str) -> str:
    """Return a program's output without the white space around it."""
    done = subprocess.run(
      command, env=self.env, capture_output=True, text=True, check=False
    )
    if done.returncode and command[0] != "sinfo":
      raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout.strip()

  def submit(self, *command: str, env: Mapping[str, str], cwd: str) -> str:
    """Return the id of a job that sbatch was given."""
    done = subprocess.run(
      ["sbatch", "--parsable", *command],
      *(),
      env={**self.env, **env},
      cwd=cwd,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

  def state(self, job: str) -> str:
    """Return a job's state: PENDING, RUNNING, COMPLETED, FAILED, ..."""
    return self.fact(job, "JobState")

  def fact(self, job: str, name: str) -> str:
    """Return a field of a job."""
    text = self.call("scontrol", "show", "job", "-o", job)
    fields = dict(
      part.partition("=")[::2] for part in text.split(" ") if "=" in part
    )
    return fields[name]

  def wait_for(self, job: str, *states: str) -> str:
    """Wait until a job has one of these states; return it."""
    self._wait(lambda: self.state(job) in states)
    return self.state(job)

  def _daemon(self, *command: str) -> None:
    with open(self.folder / f"{command[0]}.out", "wb") as out:
      self._daemons.append(
        subprocess.Popen(
          command,
          env=self.env,
          stdout=out,
          stderr=out,
          start_new_session=True,
        )
      )

  def _wait(self, condition) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
      if time.monotonic() > deadline:
        logs = "".join(
          f"{path.name}: {path.read_text(errors='replace')[-2000:]}\n"
          for path in self.folder.glob("*.log")
        )
        raise AssertionError(f"Slurm did not come so far:\n{logs}")
      time.sleep(0.2)


def _ports(count: int) -> list[int]:
  """Return free ports."""
  probes = [socket.socket() for _ in range(count)]
  for probe in probes:
    probe.bind(("127.0.0.1", 0))
  ports = [probe.getsockname()[1] for probe in probes]
  for probe in probes:
    probe.close()
  return ports

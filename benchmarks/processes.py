"""Processes: started, measured through /proc, and ended."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """Return the CPU time, in user and in kernel mode, that a process's threads have used."""
    fields = _stat(pid, proc)
    return (int(fields[11]) + int(fields[12])) / TICKS  # utime, stime


def resident_bytes(pid: int, proc: Path = PROC) -> int:
    """Return the memory that a process has in RAM."""
    for line in (proc / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0  # A process that has just ended has none.


def family(pid: int, proc: Path = PROC) -> list[int]:
    """Return `pid` and all processes that it, or one of them, has started."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # It has ended meanwhile.
                children.setdefault(int(_stat(int(entry.name), proc)[1]), []).append(
                    int(entry.name)
                )
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found


def _stat(pid: int, proc: Path) -> list[str]:
    """Return the fields of `stat` from the third one on; a name may hold spaces and brackets."""
    return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()


class Measured:
    """A server that runs, with all that it has started."""

    def __init__(self, host: str, port: int, pid: int) -> None:
        self.host = host
        self.port = port
        self.pid = pid

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.host, self.port

    def cpu(self) -> float:
        """Return the CPU seconds it has used so far."""
        return self._sum(cpu_seconds)

    def memory(self) -> int:
        """Return the bytes it has in RAM."""
        return self._sum(resident_bytes)

    def _sum(self, figure: Callable[[int], Number]) -> Number:
        total = figure(self.pid)
        for pid in family(self.pid)[1:]:
            with suppress(OSError):  # It has ended meanwhile.
                total += figure(pid)
        return total

    def stop(self) -> None:
        """Leave it alone: somebody else has started it."""


class Started(Measured):
    """
    A server of our own, on a free port of 127.0.0.1, until `stop`.

    Args:
        command: What runs it; ``{port}`` stands for the port.
        log: Where its output goes.
        timeout: Seconds until it must listen.

    Raises:
        RuntimeError: It ends, or does not listen, and what it had to say.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
        timeout: float = 60.0,
    ) -> None:
        port = free_port()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [part.format(port=port) for part in command],
                cwd=directory,
                env={
                    **os.environ,
                    **{name: value.format(port=port) for name, value in environment.items()},
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        super().__init__("127.0.0.1", port, self._process.pid)
        deadline = time.monotonic() + timeout
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} does not listen:\n{said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it and all it has started, by force after five seconds."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(self.address, timeout=1):
            return True
        return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

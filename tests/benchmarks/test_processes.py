"""What /proc says of a server."""

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.processes import Started, cpu_seconds, family, resident_bytes
from tests.utils import wait_until

TICKS = os.sysconf("SC_CLK_TCK")


def write_process(proc: Path, pid: int, parent: int, *, name: str = "python") -> None:
    """Write a process that has used 3 s in user and 2 s in kernel mode, its children 90."""
    directory = proc / str(pid)
    directory.mkdir()
    fields = [pid, f"({name})", "S", parent, pid, pid, 0, -1, 0, 1, 2, 3, 4]
    times = [3 * TICKS, 2 * TICKS, 50 * TICKS, 40 * TICKS]
    (directory / "stat").write_text(" ".join(map(str, [*fields, *times, 20, 0, 1, 0])))


@pytest.mark.parametrize("name", ["python", "a b", "x) S 1 (y", "((("])
def test_reads_times_behind_any_name(tmp_path: Path, name: str) -> None:
    """User and kernel time are added, those of children left out, whatever a process is called."""
    write_process(tmp_path, 7, 1, name=name)
    assert cpu_seconds(7, tmp_path) == 5


def test_agrees_with_the_process_itself() -> None:
    """A process that computes is charged what it says that it has used."""
    before, own = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own < 0.2:
        pass
    # Both are rounded to a tick.
    assert cpu_seconds(os.getpid()) - before == pytest.approx(0.2, abs=3 / TICKS)


def test_family_has_all_generations(tmp_path: Path) -> None:
    """Workers count, and what they start, and nobody else."""
    for pid, parent in ((1, 0), (10, 1), (11, 10), (12, 10), (13, 11), (20, 1)):
        write_process(tmp_path, pid, parent)
    (tmp_path / "meminfo").write_text("no process")
    assert sorted(family(10, tmp_path)) == [10, 11, 12, 13]


def test_reads_resident_memory() -> None:
    """Memory that is filled is counted in bytes."""
    before = resident_bytes(os.getpid())
    filled = bytearray(b"x" * 50_000_000)
    assert resident_bytes(os.getpid()) - before == pytest.approx(len(filled), rel=0.1)


def test_tells_why_a_server_does_not_start(tmp_path: Path) -> None:
    """A server that ends says why, instead of being waited for."""
    command = [sys.executable, "-c", "raise SystemExit('no such setting')"]
    with pytest.raises(RuntimeError, match="no such setting"):
        Started(command, {}, tmp_path, tmp_path / "log")


def test_ends_what_a_server_has_started(tmp_path: Path) -> None:
    """A child that outlives its server is ended with it."""
    code = (
        "import socket, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "listener = socket.create_server(('127.0.0.1', {port}))\n"
        "time.sleep(60)\n"
    )
    log = tmp_path / "log"
    server = Started([sys.executable, "-c", code], {}, tmp_path, log)
    child = int(log.read_text())
    assert child in family(server.pid)
    server.stop()
    wait_until(lambda: not is_alive(child), what="the child ends")


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended may wait for init to take note."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

"""The benchmark as a whole, in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m benchmarks``."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_measures_servers_side_by_side(tmp_path: Path) -> None:
    """A run starts every server, finds its figures, loses nothing, and writes all of it down."""
    path = tmp_path / "results.json"
    done = run(
        *("--servers", "broadcast_serve-redis,channels-daphne"),
        *("--only", "fanout,latency,connect,publish"),
        *("--rounds", "1", "--seconds", "0.2", "--subscribers", "20", "--json", str(path)),
    )
    assert done.returncode == 0, done.stderr
    servers = json.loads(path.read_text())["servers"]
    assert len(servers) == 2
    for name, row in servers.items():
        assert not row["notes"], row["notes"]
        assert not any(row["faults"].values()), row["faults"]
        expected = {"fanout_burst_cpu_s_per_m", "latency_p99_ms", "connect_cpu_ms"}
        expected |= set() if name == "channels-daphne" else {"private_cpu_ms", "post_per_core_s"}
        assert expected <= row["figures"].keys()
    assert "Nothing was lost" in done.stdout


def test_says_why_a_server_has_no_figures(tmp_path: Path) -> None:
    """A server that cannot be reached is a line below the tables, not a traceback."""
    path = tmp_path / "results.json"
    done = run("--url", "127.0.0.1:1", "--pid", "1", "--only", "fanout", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:1: failed: ConnectionError: Cannot connect" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--servers", "nobody"], "'nobody' is none of broadcast_serve"),
        (["--only", "speed"], "'speed' is none of fanout"),
        (["--url", "127.0.0.1:8000"], "--pid must say"),
    ],
)
def test_refuses_what_it_does_not_know(arguments: list[str], expected: str) -> None:
    """A name that is misspelt is answered with those that exist."""
    done = run(*arguments)
    assert done.returncode
    assert expected in done.stderr

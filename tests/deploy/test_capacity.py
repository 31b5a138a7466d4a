"""The script that works out how many processes a site needs, and the page that shows its tables."""

import re
import subprocess
import sys

import pytest

from tests.deploy.programs import ROOT

PAGE = ROOT / "docs" / "capacity.md"


def run(*arguments: str, status: int = 0) -> str:
    """Run the script; return what it prints."""
    command = [sys.executable, "scripts/capacity.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def answer(connections: int, rate: float, reach: float) -> list[str]:
    """Return the cells of the row for a site."""
    given = {"connections": connections, "rate": rate, "reach": reach}
    *_, last = run(*(f"--{name}={value}" for name, value in given.items())).splitlines()
    return [cell.strip() for cell in last.strip("|").split("|")]


def test_the_page_shows_what_the_script_prints() -> None:
    """Figures that are measured anew are put into the script; this says what else to change."""
    page = PAGE.read_text()
    for each in run().strip().split("\n\n"):
        assert each in page


def test_the_page_and_the_script_name_the_same_limits() -> None:
    """A process has at most so many clients; the file limit of the unit is for that."""
    assert answer(1_000_000, 1, 1)[5] == "12 000"
    assert "12 000 clients" in PAGE.read_text()


@pytest.mark.parametrize(
    ("connections", "rate", "reach", "expected"),
    [
        (100, 1, 1, "1 + 1"),
        (12_000, 1, 1, "1 + 1"),
        (12_001, 1, 1, "2 + 1"),  # As many clients as a process should have.
        (10_000, 1, 100_000, "3 + 1"),  # Everybody is to have it within a quarter of a second.
        (1_000, 500, 1_000, "6 + 2"),  # Half a million deliveries a second, of 6.5 µs.
    ],
)
def test_the_tightest_limit_decides(
    connections: int, rate: float, reach: float, expected: str
) -> None:
    """Connections, one hot channel, or the CPU of all deliveries."""
    assert answer(connections, rate, reach)[4] == expected


def test_no_process_is_planned_beyond_its_share() -> None:
    """Whatever the load, each has some of its core left for bad days."""
    for rate in (1, 10, 100, 1_000, 5_000):
        used = answer(20_000, rate, 200)[6]
        assert int(used.rstrip("%")) <= 60


@pytest.mark.parametrize("arguments", [["--connections", "0"], ["--connections", "9", "--rate=-1"]])
def test_nonsense_is_refused(arguments: list[str]) -> None:
    """In one line that says what is wrong."""
    assert re.search("must be above 0$", run(*arguments, status=2).strip())

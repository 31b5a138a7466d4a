"""What was found: figures of each server, round by round."""

import json
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .samples import Spread

ROOT = Path(__file__).resolve().parent.parent
OURS = "broadcast_serve"


@dataclass
class Row:
    """
    What was found of one server.

    Attributes:
        title: How it is called.
        figures: By name, one value for each round.
        faults: What must not happen, counted.
        notes: Why something is missing.
    """

    title: str
    figures: dict[str, list[float]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Print once why something is missing."""
        if text not in self.notes:
            self.notes.append(text)


class Results:
    """All rows, by a server's name, and where they were found."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.machine = describe_machine()

    def row(self, name: str, title: str) -> Row:
        """Return a server's row, made on first use."""
        return self.rows.setdefault(name, Row(title))

    def add(self, row: Row, figures: Mapping[str, float], faults: Mapping[str, int]) -> None:
        """Take the figures of one run."""
        for name, value in figures.items():
            row.figures.setdefault(name, []).append(value)
        for name, number in faults.items():
            row.faults[name] = row.faults.get(name, 0) + number

    def spread(self, name: str, figure: str) -> Spread | None:
        """Return what the rounds have shown, `None` where it was not measured."""
        row = self.rows.get(name)
        values = row.figures.get(figure) if row is not None else None
        return Spread.of(values) if values else None

    def median(self, name: str, figure: str) -> float | None:
        """Return the median of the rounds, `None` where it was not measured."""
        spread = self.spread(name, figure)
        return None if spread is None else spread.median

    def ratio(self, above: tuple[str, str], below: tuple[str, str]) -> float | None:
        """Return one median in terms of another; each is a server's name and a figure's."""
        dividend, divisor = self.median(*above), self.median(*below)
        return dividend / divisor if dividend is not None and divisor else None

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {name: asdict(row) for name, row in self.rows.items()}
        path.write_text(json.dumps({"machine": self.machine, "servers": rows}, indent=2) + "\n")


def describe_machine() -> dict[str, str]:
    """Return what somebody must know who compares two runs."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M %Z"),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "cpu": _cpu_model(),
        "cpus": _output("nproc"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "node": _output("node", "--version"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return done.stdout.strip() or "unknown"

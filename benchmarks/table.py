"""Results as Markdown, for a terminal and for documents."""

from collections.abc import Iterable, Sequence

from .aims import AIMS
from .results import OURS, Results
from .samples import Spread

# Heading, figure, whether the ratio to ours is shown.
COLUMNS = (
    ("one by one", "fanout_single_cpu_s_per_m", True),
    ("8 under way", "fanout_queue_cpu_s_per_m", True),
    ("16 under way", "fanout_burst_cpu_s_per_m", True),
    ("deliveries/s", "fanout_queue_per_s", False),
    ("p50 ms", "latency_p50_ms", False),
    ("p99 ms", "latency_p99_ms", False),
    ("connects/s", "connect_per_s", False),
    ("CPU ms each", "connect_cpu_ms", False),
    ("private, CPU ms", "private_cpu_ms", False),
    ("kB each", "memory_kb", False),
    ("POST/s per core", "post_per_core_s", False),
)
# What is measured for some servers only.
DETAILS = {
    "fanout_single_per_s": "Deliveries/s, one by one",
    "fanout_burst_per_s": "Deliveries/s, 16 under way",
    "private_per_s": "Connects/s, private channel",
    "post_per_s": "Signed POSTs/s, one process",
    "memory_own_channel_kb": "kB each, a channel for each connection",
    "churn_growth_percent": "Memory after churn, % more",
    "growth_100_cpu_s_per_m": "CPU-s per 1M, one by one, 100 subscribers",
    "growth_1000_cpu_s_per_m": "CPU-s per 1M, one by one, 1 000 subscribers",
    "growth_10000_cpu_s_per_m": "CPU-s per 1M, one by one, 10 000 subscribers",
    "features_burst_cpu_s_per_m": "CPU-s per 1M, 16 under way, counts and metrics on",
    "presence_burst_cpu_s_per_m": "CPU-s per 1M, 16 under way, presence channel",
    "unheard_cpu_us": "CPU µs, a message nobody listens to",
    "without_slow_reader_p99_ms": "p99 ms without a slow reader",
    "with_slow_reader_p99_ms": "p99 ms of the others with a slow reader",
    "event_us": "µs, one channel",
    "event_10_channels_us": "µs, ten channels",
    "group_send_us": "µs, async_to_sync(group_send) for comparison",
}
IN_COLUMNS = {figure for _, figure, _ in COLUMNS}


def comparison(results: Results) -> str:
    """Return one line for each server, one column for each figure that was measured."""
    columns = [
        (heading, figure, has_ratio)
        for heading, figure, has_ratio in COLUMNS
        if any(figure in row.figures for row in results.rows.values())
    ]
    lines = []
    for name, row in results.rows.items():
        if not IN_COLUMNS.isdisjoint(row.figures):
            cells = [_cell(results, name, figure, has_ratio) for _, figure, has_ratio in columns]
            lines.append([row.title, *cells])
    return markdown(["server", *(heading for heading, _, _ in columns)], lines)


def details(results: Results) -> str:
    """Return the figures that have no column, one on a line."""
    lines = [
        [row.title, text, _spread(Spread.of(row.figures[figure]))]
        for row in results.rows.values()
        for figure, text in DETAILS.items()
        if figure in row.figures
    ]
    return markdown(["server", "figure", "median (least to most)"], lines)


def aims(results: Results) -> str:
    """Return what was promised beside what was found."""
    lines = []
    for aim in AIMS:
        value = aim.find(results)
        found = "" if value is None else number(value)
        lines.append([aim.text, f"{aim.sign} {number(aim.bound)}", found, aim.verdict(results)])
    return markdown(["figure", "aim", "found", ""], lines)


def faults(results: Results) -> str:
    """Return what must not have happened, and what is missing."""
    lines = []
    for row in results.rows.values():
        found = [f"{count} {name}" for name, count in row.faults.items() if count]
        lines += [f"{row.title}: {', '.join(found)}"] if found else []
        lines += [f"{row.title}: {note}" for note in row.notes]
    return "\n".join(lines) or "Nothing was lost, doubled, out of order or closed."


def report(results: Results) -> str:
    """Return all tables."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return "\n\n".join(
        (machine, comparison(results), details(results), aims(results), faults(results))
    )


def markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns are aligned."""
    rows = [list(headings), *map(list, lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def number(value: float) -> str:
    """Return `value` with three digits that count."""
    if abs(value) >= 10_000:
        return f"{round(value, -2):,.0f}".replace(",", " ")
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def _cell(results: Results, name: str, figure: str, has_ratio: bool) -> str:
    spread = results.spread(name, figure)
    if spread is None:
        return ""
    ratio = results.ratio((name, figure), (OURS, figure)) if has_ratio and name != OURS else None
    return _spread(spread) + ("" if ratio is None else f" ×{number(ratio)}")


def _spread(spread: Spread) -> str:
    if spread.least == spread.most:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.least)} to {number(spread.most)})"

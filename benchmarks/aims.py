"""What is promised, and whether it is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .results import OURS, Results

Find = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Aim:
    """
    One promise.

    Attributes:
        text: What is measured, with its unit.
        sign: On which side of `bound` it must be.
        find: Returns the figure, `None` where it was not measured.
    """

    text: str
    sign: Literal["≤", "≥"]
    bound: float
    find: Find

    def verdict(self, results: Results) -> str:
        """Return ``met``, ``MISSED`` or ``not measured``."""
        value = self.find(results)
        if value is None:
            return "not measured"
        is_met = value <= self.bound if self.sign == "≤" else value >= self.bound
        return "met" if is_met else "MISSED"


def _of(figure: str, server: str = OURS) -> Find:
    return lambda results: results.median(server, figure)


def _times(figure: str, server: str) -> Find:
    """Return how many times as much `server` needs as ours."""
    return lambda results: results.ratio((server, figure), (OURS, figure))


def _more(figure: str, than: str, server: str = OURS) -> Find:
    def percent(results: Results) -> float | None:
        ratio = results.ratio((server, figure), (server, than))
        return None if ratio is None else (ratio - 1) * 100

    return percent


def _growth(results: Results) -> float | None:
    """Return what a delivery costs to 10 000 in terms of 100, publishing left out."""
    request = results.median(OURS, "post_cpu_ms")
    few, many = (results.median(OURS, f"growth_{n}_cpu_s_per_m") for n in (100, 10_000))
    if request is None or few is None or many is None:
        return None
    # One request for so many deliveries, in seconds a million.
    return (many - request * 1e3 / 10_000) / (few - request * 1e3 / 100)


_QUEUE = "fanout_queue_cpu_s_per_m"
_BURST = "fanout_burst_cpu_s_per_m"
_STOCK = "channels-uvicorn"

AIMS = (
    Aim("Fan-out, 8 messages under way, CPU-s per 1M", "≤", 2.5, _of(_QUEUE)),
    Aim("Fan-out, 16 messages under way", "≤", 1.5, _of(_BURST)),
    Aim("Fan-out, one by one", "≤", 6.5, _of("fanout_single_cpu_s_per_m")),
    Aim("Fan-out, our consumer on daphne", "≤", 35, _of(_QUEUE, "daphne")),
    Aim("Fan-out, times cheaper than soketi", "≥", 4, _times(_QUEUE, "soketi")),
    Aim("Fan-out, times cheaper than a Channels group", "≥", 100, _times(_QUEUE, _STOCK)),
    Aim("Publish to receive, p50 ms", "≤", 8, _of("latency_p50_ms")),
    Aim("Publish to receive, p99 ms", "≤", 20, _of("latency_p99_ms")),
    Aim("Connect and subscribe, CPU ms", "≤", 0.35, _of("connect_cpu_ms")),
    Aim("Connect and subscribe, per second", "≥", 2_500, _of("connect_per_s")),
    Aim("The same, private channel, CPU ms", "≤", 0.45, _of("private_cpu_ms")),
    Aim("Memory per idle connection, kB", "≤", 8, _of("memory_kb")),
    Aim("Memory after churn, % more", "≤", 5, _of("churn_growth_percent")),
    Aim("Signed POST, per second and core", "≥", 2_500, _of("post_per_core_s")),
    Aim("event() over Redis, µs", "≤", 150, _of("event_us", "event")),
    Aim(
        "Presence, % more per delivery",
        "≤",
        15,
        _more("presence_burst_cpu_s_per_m", _BURST),
    ),
    Aim("Counts and metrics, % more", "≤", 15, _more("features_burst_cpu_s_per_m", _BURST)),
    Aim("Message nobody listens to, CPU µs", "≤", 5, _of("unheard_cpu_us", f"{OURS}-redis")),
    # As much as for the C program, whose sockets fall out of the caches too.
    Aim("Delivery to 10 000, one by one, times that to 100", "≤", 1.5, _growth),
    Aim("A slow reader: p99 of the others, times", "≤", 1.1, _of("slow_reader_p99_ratio")),
)

"""What is measured when: rounds in which every server has its turn, then what is done once."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.request import urlopen

from . import figures
from .figures import Run
from .peers import NotInstalled, Redis, install
from .results import OURS, ROOT, Results
from .servers import Server

GROUPS = (
    *("fanout", "latency", "connect", "publish"),
    *("memory", "growth", "features", "slow", "event"),
)
# What only these are asked: what others do would take most of the time.
GROWN = (OURS, "soketi")
CHURNED = (OURS, f"{OURS}-redis", "soketi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """
    How much is measured.

    Attributes:
        rounds: How often each server has its turn.
        seconds: How long each way of publishing goes on.
        subscribers: Of the one channel.
        idle: Sockets whose memory is measured.
        churn: How often all of these leave and come again.
        growth: Numbers of subscribers.
        minutes: After so many, nothing more is begun.
    """

    rounds: int = 3
    seconds: float = 2.5
    subscribers: int = 1_000
    idle: int = 5_000
    churn: int = 3
    growth: tuple[int, ...] = (100, 1_000, 10_000)
    minutes: float = 24.0


QUICK = Extent(rounds=1, seconds=1.0, idle=1_000, churn=1, growth=(100, 1_000), minutes=2.5)


class Bench:
    """
    One run of the benchmark.

    Args:
        servers: Which are compared, in this order.
        groups: Which of `GROUPS` are measured.
        say: Is told what is being done.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        groups: Iterable[str],
        extent: Extent,
        say: Callable[[str], object],
    ) -> None:
        self.results = Results()
        self._groups = set(groups)
        self._extent = extent
        self._say = say
        self._redis: Redis | None = None
        self._deadline = time.monotonic() + extent.minutes * 60
        self._servers = [server for server in servers if self._is_there(server)]

    def run(self) -> Results:
        """Measure everything."""
        try:
            for number in range(self._extent.rounds):
                for server in self._servers:
                    self._say(f"Round {number + 1}: {server.title}")
                    self._turn(server)
            for server in self._servers:
                self._once(server)
            if "event" in self._groups:
                self._measure_event()
        finally:
            if self._redis is not None:
                self._redis.stop()
        return self.results

    def _is_there(self, server: Server) -> bool:
        row = self.results.row(server.name, server.title)
        for need in server.needs:
            try:
                self._say(f"Looking for {need}, for {server.title}")
                install(need)
            except NotInstalled as exc:
                row.note(f"not measured: {exc}")
                return False
        return True

    def _measure(self, server: Server, work: Callable[[Run], None], **environment: str) -> None:
        """Start `server` for `work`, and take what it finds; say what went wrong."""
        row = self.results.row(server.name, server.title)
        if time.monotonic() > self._deadline:
            row.note("not all was measured: time is over")
            return
        redis = None
        if "redis" in server.needs:
            redis = self._redis = self._redis or Redis()
        try:
            running = server.start(redis, **environment)
        except (OSError, RuntimeError) as exc:
            row.note(f"cannot be started: {exc}")
            return
        run = Run(server, running, redis)
        try:
            work(run)
        except (OSError, RuntimeError) as exc:
            row.note(f"failed: {type(exc).__name__}: {exc}")
        finally:
            run.close()
            running.stop()
            self.results.add(row, run.figures, run.faults)
            gc.collect()

    def _turn(self, server: Server) -> None:
        seconds = self._extent.seconds
        if self._groups & {"fanout", "latency", "connect"}:
            self._measure(server, self._fan_out)
        if "publish" in self._groups and server.speaks == "pusher":
            self._measure(server, lambda run: figures.publish(run, seconds))
        if "features" in self._groups and server.name.startswith(OURS):
            self._measure(server, self._features, BENCH_COUNT="1")
        if "slow" in self._groups and server.name == OURS:
            self._measure(server, self._slow_reader)

    def _fan_out(self, run: Run) -> None:
        extent = self._extent
        crowd = figures.connect(run, extent.subscribers, "connect")
        if "fanout" in self._groups:
            figures.fan_out(run, crowd, extent.seconds)
        if "latency" in self._groups:
            figures.latency(run, crowd, extent.seconds * 2)
        crowd.close()
        if "connect" in self._groups and run.server.speaks == "pusher":
            figures.connect(run, extent.subscribers, "private", "private-bench").close()

    def _features(self, run: Run) -> None:
        extent = self._extent
        crowd = figures.connect(run, extent.subscribers, "features")
        with scraping(run):
            figures.measure_load(run, crowd, "burst", extent.seconds, "features_burst")
        crowd.close()
        figures.presence(run, extent.subscribers, extent.seconds)
        if run.server.bus == "redis":
            figures.unheard(run, 5_000)

    def _slow_reader(self, run: Run) -> None:
        crowd = figures.connect(run, self._extent.subscribers - 1, "slow")
        figures.slow_reader(run, crowd, self._extent.seconds * 2)

    def _once(self, server: Server) -> None:
        if "memory" in self._groups:
            self._say(f"Memory: {server.title}")
            self._measure(server, self._memory)
            if server.name.startswith(OURS):
                self._measure(server, self._memory_of_own_channels)
        if "growth" in self._groups and server.name in GROWN:
            self._say(f"Growth: {server.title}")
            extent = self._extent
            self._measure(server, lambda run: figures.growth(run, extent.growth, extent.seconds))

    def _memory(self, run: Run) -> None:
        number = min(self._extent.idle, 1_000) if run.server.is_stock else self._extent.idle
        crowd = figures.memory(run, number)
        if run.server.name in CHURNED:
            figures.churn(run, crowd, self._extent.churn)

    def _memory_of_own_channels(self, run: Run) -> None:
        figures.memory(run, self._extent.idle, "memory_own_channel", own_channels=True)

    def _measure_event(self) -> None:
        self._say("event() over Redis")
        row = self.results.row("event", "event() in a sync process")
        try:
            install("redis")
            self._redis = self._redis or Redis()
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.event_cost"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "benchmarks.site.settings",
                    "BENCH_CONNECTION": "redis",
                    "BENCH_REDIS_URL": self._redis.url,
                },
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
        except NotInstalled as exc:
            row.note(f"not measured: {exc}")
        except subprocess.CalledProcessError as exc:
            row.note(f"failed: {exc.stderr[-500:]}")
        else:
            self.results.add(row, json.loads(done.stdout), {})


@contextmanager
def scraping(run: Run) -> Iterator[None]:
    """Read the metrics once a second."""
    done = threading.Event()
    url = f"http://{run.running.host}:{run.running.port}/metrics"

    def scrape() -> None:
        while not done.wait(1.0):
            with suppress(OSError), urlopen(url, timeout=5) as response:
                run.figures["metrics_bytes"] = len(response.read())

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

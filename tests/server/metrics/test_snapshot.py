"""What is counted, how it is written down, and how workers of a host tell each other."""

import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from broadcasting.conf import get_settings
from broadcasting.server.hub import Hub
from broadcasting.server.hubs import get_hub, open_session, stop_hub
from broadcasting.server.metrics import snapshot as metrics
from broadcasting.server.metrics.prometheus import FAMILIES, render
from broadcasting.server.metrics.snapshot import (
    Census,
    Histogram,
    kind_of,
    publish_to_siblings,
    siblings,
    snapshot,
)
from broadcasting.server.metrics.workers import Worker, get_worker, set_worker
from tests.conftest import ROOT
from tests.server.fakes import FakeSocket
from tests.utils import await_until, subscribe

SECRET_NAME = "room-of-alice"
OPERATIONS = ROOT / "docs" / "operations.md"


@dataclass
class FakeDelivery:
    """A webhook that was told things."""

    sent: int = 3
    failed: int = 2
    dropped: int = 1
    waiting: int = 4


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[Hub]:
    """Yield the loop's hub."""
    yield get_hub()
    await stop_hub()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Be the first of two workers."""
    before = get_worker()
    set_worker(Worker(1, tmp_path, 2))
    yield get_worker()
    set_worker(before)


def parsed(text: str) -> dict[str, Metric]:
    """Return what Prometheus makes of `text`, by name."""
    return {metric.name: metric for metric in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    """Return the one value of `sample` that has `labels`, whatever others it has."""
    [found] = [
        s.value
        for metric in families.values()
        for s in metric.samples
        if s.name == sample and labels.items() <= s.labels.items()
    ]
    return float(found)


async def connect(key: str) -> None:
    """Open a socket that is in a private room nobody signed for, a public one and a user's."""
    session = open_session(key, "7", None, FakeSocket())
    session.receive(subscribe(SECRET_NAME))
    session.receive(subscribe(f"private-{SECRET_NAME}", auth="k:0"))
    await await_until(lambda: f"1:{SECRET_NAME}" in get_hub().topics)


# What is told


async def test_every_family_can_be_read_by_prometheus(hub: Hub) -> None:
    """Each has a help text and its kind, and the names of counters end in _total."""
    families = parsed(render(snapshot(hub)))
    for name, family in FAMILIES.items():
        metric = families[f"broadcasting_{name}"]
        assert metric.documentation == family.help
        assert metric.type == family.kind
        if family.kind == "counter":
            assert all(sample.name.endswith("_total") for sample in metric.samples)
    assert set(snapshot(hub)) == set(FAMILIES)


async def test_what_happens_is_told(hub: Hub) -> None:
    """Of sockets, subscriptions, errors and messages."""
    [app] = get_settings().apps
    await connect(app.key)
    hub.stats.closed[4009] += 1
    hub.stats.closed[None] += 2
    hub.stats.closed[4999] += 1
    hub.stats.answered[401] += 5
    hub.stats.deliveries = [FakeDelivery(), FakeDelivery()]
    for seconds in (0.0005, 0.001, 0.3, 60):
        hub.stats.publish_seconds.observe(seconds)
    families = parsed(render(snapshot(hub)))
    for expected, sample, labels in [
        (1, "broadcasting_connections", {"app": app.id}),
        (1, "broadcasting_connections_opened_total", {}),
        (1, "broadcasting_connections_closed_total", {"code": "4009", "reason": "unauthorized"}),
        (2, "broadcasting_connections_closed_total", {"code": "none", "reason": "client"}),
        (1, "broadcasting_connections_closed_total", {"code": "4999", "reason": "other"}),
        (1, "broadcasting_subscriptions", {"kind": "public"}),
        (0, "broadcasting_subscriptions", {"kind": "presence"}),
        (1, "broadcasting_channels", {"kind": "public"}),
        (1, "broadcasting_errors_total", {"error": "Unauthorized"}),
        (1, "broadcasting_auth_failures_total", {"reason": "signature"}),
        (5, "broadcasting_auth_failures_total", {"reason": "api"}),
        (0, "broadcasting_rate_limited_total", {"what": "client_events"}),
        (6, "broadcasting_webhook_deliveries_total", {"result": "sent"}),
        (4, "broadcasting_webhook_deliveries_total", {"result": "failed"}),
        (2, "broadcasting_webhook_deliveries_total", {"result": "dropped"}),
        (8, "broadcasting_webhook_pending", {}),
        (2, "broadcasting_publish_seconds_bucket", {"le": "0.001"}),
        (3, "broadcasting_publish_seconds_bucket", {"le": "0.5"}),
        (4, "broadcasting_publish_seconds_bucket", {"le": "+Inf"}),
        (4, "broadcasting_publish_seconds_count", {}),
        (60.3015, "broadcasting_publish_seconds_sum", {}),
        (1, "broadcasting_bus_up", {}),
        (0, "broadcasting_draining", {}),
    ]:
        assert value(families, sample, **labels) == expected, (sample, labels)


async def test_no_label_tells_of_a_channel(hub: Hub) -> None:
    """Nor of a user: their number has no bound, and their names are nobody's business."""
    [app] = get_settings().apps
    await connect(app.key)
    text = render(snapshot(hub))
    assert 'kind="public"' in text
    assert SECRET_NAME not in text


async def test_a_process_tells_its_memory_and_files(hub: Hub) -> None:
    """Under the names that every dashboard knows."""
    families = parsed(render(snapshot(hub)))
    assert value(families, "process_resident_memory_bytes", worker="1") > 1_000_000
    assert value(families, "process_open_fds", worker="1") > 2
    assert value(families, "process_cpu_seconds_total", worker="1") > 0


@pytest.mark.parametrize(
    ("channel", "kind"),
    [
        ("room", "public"),
        ("cache-room", "public"),
        ("private-room", "private"),
        ("private-cache-room", "private"),
        ("private-encrypted-room", "encrypted"),
        ("presence-room", "presence"),
        ("#server-to-user-7", "user"),
        ("#watch-7", None),
        ("#control", None),
    ],
)
def test_channels_have_kinds(channel: str, kind: str | None) -> None:
    """And those of the server itself have none."""
    assert kind_of(channel) == kind


def test_a_value_on_a_bound_is_below_it() -> None:
    """As `le`, less or equal, says."""
    histogram = Histogram()
    for bound in Histogram.BOUNDS:
        histogram.observe(bound)
    assert histogram.counts == [1] * len(Histogram.BOUNDS) + [0]


def test_many_channels_are_not_counted_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was ten milliseconds' work is kept for ten seconds, and none above a minute."""
    now, worked, cost, counts = 100.0, 5.0, 0.01, 0

    class FakeHub:
        @property
        def topics(self) -> dict[str, int]:
            nonlocal now, worked, counts
            now += 3.0  # Others had their turn on the machine.
            worked += cost
            counts += 1
            return {"1:a": 2}

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "thread_time", lambda: worked)
    census, any_hub = Census(), FakeHub()
    for elapsed, expected in ((0, 1), (6.5, 1), (1, 2), (0, 2), (8, 3), (50, 3), (8, 4)):
        now += elapsed
        if counts == 2:
            cost = 2.0
        census.take(any_hub)  # type: ignore[arg-type]  # A hub of which nothing else is asked.
        assert counts == expected
    assert census.subscriptions["public"] == 2


# Workers


async def test_workers_of_a_host_answer_for_each_other(hub: Hub, worker: Worker) -> None:
    """Each number bears the worker that it is of."""
    hub.stats.opened = 7
    set_worker(Worker(2, worker.directory, 2))
    publish_to_siblings(hub)
    set_worker(worker)
    hub.stats.opened = 1
    families = parsed(render(snapshot(hub)))
    assert value(families, "broadcasting_connections_opened_total", worker="1") == 1
    assert value(families, "broadcasting_connections_opened_total", worker="2") == 7
    assert value(families, "process_open_fds", worker="2") > 2


async def test_a_worker_does_not_read_its_own_words(hub: Hub, worker: Worker) -> None:
    """It knows better."""
    publish_to_siblings(hub)
    assert worker.directory is not None
    assert [path.name for path in worker.directory.iterdir()] == ["metrics-1.json"]
    assert siblings() == []


async def test_a_worker_that_says_nothing_any_more_is_left_out(hub: Hub, worker: Worker) -> None:
    """Whatever it said last."""
    set_worker(Worker(2, worker.directory, 2))
    publish_to_siblings(hub)
    set_worker(worker)
    assert [number for number, _, _ in siblings()] == [2]
    assert worker.directory is not None
    past = os.stat(worker.directory / "metrics-2.json").st_mtime - metrics.FRESH - 1
    os.utime(worker.directory / "metrics-2.json", (past, past))
    assert siblings() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7", '{"worker": 2}'])
async def test_what_is_not_understood_is_left_out(hub: Hub, worker: Worker, text: str) -> None:
    """Numbers of this worker are told all the same."""
    assert worker.directory is not None
    (worker.directory / "metrics-2.json").write_text(text)
    assert siblings() == []


async def test_a_sibling_of_another_version_is_understood(hub: Hub, worker: Worker) -> None:
    """As far as it says the same things."""
    said: dict[str, Any] = {
        "unheard_of": [[[], 1]],
        "connections_opened": [[["one", "more"], 5]],
        "messages_delivered": [[[], 9]],
    }
    assert worker.directory is not None
    (worker.directory / "metrics-2.json").write_text(
        json.dumps({"worker": 2, "pid": os.getpid(), "families": said})
    )
    families = parsed(render(snapshot(hub)))
    assert value(families, "broadcasting_messages_delivered_total", worker="2") == 9
    assert "broadcasting_unheard_of" not in families
    opened = families["broadcasting_connections_opened"].samples
    assert [sample.labels["worker"] for sample in opened] == ["1"]


async def test_one_worker_writes_nothing(hub: Hub, tmp_path: Path, worker: Worker) -> None:
    """Nobody would read it."""
    set_worker(Worker(1, tmp_path, 1))
    publish_to_siblings(hub)
    set_worker(Worker(1, None, 2))
    publish_to_siblings(hub)
    assert os.listdir(tmp_path) == []


async def test_a_directory_that_has_gone_is_no_error(
    hub: Hub, worker: Worker, tmp_path: Path
) -> None:
    """The command that made it may end first."""
    set_worker(Worker(1, tmp_path / "gone", 2))
    publish_to_siblings(hub)
    assert siblings() == []


# What operators were given


def names_in(path: str) -> set[str]:
    """Return the metrics that a file of the repository names."""
    return set(re.findall(r"\bbroadcasting_[a-z_]+", (ROOT / path).read_text()))


def sample_names() -> set[str]:
    """Return what the samples of each family may be called."""
    endings = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return {
        f"broadcasting_{name}{ending}"
        for name, family in FAMILIES.items()
        for ending in endings[family.kind]
    }


def test_every_metric_is_documented() -> None:
    """With its kind and its labels."""
    document = OPERATIONS.read_text()
    for name, family in FAMILIES.items():
        ending = "_total" if family.kind == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in family.labels)
        if family.kind == "histogram":
            labels = "`le`"
        row = f"| `broadcasting_{name}{ending}` | {family.kind} | {labels} |"
        assert row.replace("|  |", "| |") in document


@pytest.mark.parametrize("path", ["deploy/alerts.yml", "deploy/grafana.json"])
def test_alerts_and_the_dashboard_ask_for_what_there_is(path: str) -> None:
    """A name that nobody tells would never alert."""
    asked = names_in(path)
    assert len(asked) > 5
    assert asked <= sample_names()


def test_the_dashboard_can_be_imported() -> None:
    """It is JSON, each panel has a place of its own, and each asks something."""
    dashboard = json.loads((ROOT / "deploy/grafana.json").read_text())
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
    assert len(set(places)) == len(places)
    for panel in dashboard["panels"]:
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"])


def test_every_alert_is_documented() -> None:
    """By its name."""
    named = set(re.findall(r"alert: (\w+)", (ROOT / "deploy/alerts.yml").read_text()))
    documented = set(re.findall(r"^\| `(Broadcasting\w+)`", OPERATIONS.read_text(), re.M))
    assert named == documented

"""What is counted, and how Prometheus reads it."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from broadcasting.conf import get_settings
from broadcasting.server.hub import Hub
from broadcasting.server.hubs import get_hub, open_session
from broadcasting.server.metrics.prometheus import FAMILIES, render
from broadcasting.server.metrics.snapshot import take_snapshot
from tests.conftest import ROOT
from tests.server.fakes import FakeSocket
from tests.utils import await_until, subscribe

SECRET_NAME = "room-of-alice"
OPERATIONS = ROOT / "docs" / "operations.md"


@dataclass
class FakeWebhook:
    """A webhook that has done things."""

    sent: int = 3
    failed: int = 2
    dropped: int = 1
    waiting: int = 4


def rendered(hub: Hub) -> dict[str, Metric]:
    """Return what Prometheus makes of the numbers, by name."""
    text = render(take_snapshot(hub))
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


async def connect() -> str:
    """Open a socket in a public room that was refused a private one; return its application."""
    [app] = get_settings().apps
    session = open_session(app.key, "7", None, FakeSocket())
    session.receive(subscribe(SECRET_NAME))
    session.receive(subscribe(f"private-{SECRET_NAME}", auth="k:0"))
    await await_until(lambda: f"1:{SECRET_NAME}" in get_hub().topics)
    return app.id


async def test_every_family_can_be_read_by_prometheus(hub: Hub) -> None:
    families = rendered(hub)
    for name, family in FAMILIES.items():
        metric = families[f"broadcasting_{name}"]
        assert (metric.documentation, metric.type) == (family.help, family.kind)
        if family.kind == "counter":
            assert all(sample.name.endswith("_total") for sample in metric.samples)
    assert set(take_snapshot(hub)) == set(FAMILIES)


async def test_what_happens_is_counted(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sockets, subscriptions, errors, messages and webhooks; no label names a channel."""
    app_id = await connect()
    hub.stats.closed[4009] += 1
    hub.stats.closed[None] += 2
    hub.stats.closed[4999] += 1
    hub.stats.answered[401] += 5
    monkeypatch.setattr(Hub, "webhooks", [FakeWebhook(), FakeWebhook()])
    for seconds in (0.0005, 0.001, 0.3, 60):
        hub.stats.publish_seconds.observe(seconds)
    families = rendered(hub)
    for expected, sample, labels in [
        (1, "connections", {"app": app_id}),
        (1, "connections_opened_total", {}),
        (1, "connections_closed_total", {"code": "4009", "reason": "unauthorized"}),
        (2, "connections_closed_total", {"code": "none", "reason": "client"}),
        (1, "connections_closed_total", {"code": "4999", "reason": "other"}),
        (1, "subscriptions", {"kind": "public"}),
        (0, "subscriptions", {"kind": "presence"}),
        (1, "channels", {"kind": "public"}),
        (1, "errors_total", {"error": "Unauthorized"}),
        (1, "auth_failures_total", {"reason": "signature"}),
        (5, "auth_failures_total", {"reason": "api"}),
        (0, "rate_limited_total", {"what": "client_events"}),
        (6, "webhook_deliveries_total", {"result": "sent"}),
        (4, "webhook_deliveries_total", {"result": "failed"}),
        (2, "webhook_deliveries_total", {"result": "dropped"}),
        (8, "webhook_pending", {}),
        (2, "publish_seconds_bucket", {"le": "0.001"}),
        (3, "publish_seconds_bucket", {"le": "0.5"}),
        (4, "publish_seconds_bucket", {"le": "+Inf"}),
        (4, "publish_seconds_count", {}),
        (60.3015, "publish_seconds_sum", {}),
        (1, "bus_up", {}),
        (0, "draining", {}),
    ]:
        assert value(families, f"broadcasting_{sample}", **labels) == expected, (sample, labels)
    assert SECRET_NAME not in render(take_snapshot(hub))


async def test_numbers_of_a_sibling_stand_beside_ones_own(hub: Hub, directory: Path) -> None:
    """Those of the process too; what another version wrote counts as far as it is understood."""
    written: dict[str, Any] = {
        "unheard_of": [[[], 1]],
        "connections_opened": [[["one", "more"], 5]],
        "messages_delivered": [[[], 9]],
    }
    sibling = {"worker": 2, "pid": os.getpid(), "families": written}
    (directory / "metrics-2.json").write_text(json.dumps(sibling))
    families = rendered(hub)
    assert value(families, "broadcasting_messages_delivered_total", worker="2") == 9
    assert value(families, "broadcasting_messages_delivered_total", worker="1") == 0
    assert "broadcasting_unheard_of" not in families
    opened = families["broadcasting_connections_opened"].samples
    assert [sample.labels["worker"] for sample in opened] == ["1"]
    for worker in "12":
        assert value(families, "process_resident_memory_bytes", worker=worker) > 1_000_000
        assert value(families, "process_open_fds", worker=worker) > 2
        assert value(families, "process_cpu_seconds_total", worker=worker) > 0


# What operators are given


def test_every_metric_is_documented() -> None:
    document = OPERATIONS.read_text()
    for name, family in FAMILIES.items():
        ending = "_total" if family.kind == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in family.labels)
        if family.kind == "histogram":
            labels = "`le`"
        row = f"| `broadcasting_{name}{ending}` | {family.kind} | {labels} |"
        assert row.replace("|  |", "| |") in document


@pytest.mark.parametrize("path", ["deploy/alerts.yml", "deploy/grafana.json"])
def test_alerts_and_dashboard_ask_for_metrics_that_exist(path: str) -> None:
    asked = set(re.findall(r"\bbroadcasting_[a-z_]+", (ROOT / path).read_text()))
    endings = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    samples = {
        f"broadcasting_{name}{ending}"
        for name, family in FAMILIES.items()
        for ending in endings[family.kind]
    }
    assert len(asked) > 5
    assert asked <= samples


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana.json").read_text())
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
    assert len(set(places)) == len(places)
    for panel in dashboard["panels"]:
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"])


def test_every_alert_is_documented() -> None:
    named = set(re.findall(r"alert: (\w+)", (ROOT / "deploy/alerts.yml").read_text()))
    documented = set(re.findall(r"^\| `(Broadcasting\w+)`", OPERATIONS.read_text(), re.M))
    assert named == documented

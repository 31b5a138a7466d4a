"""The numbers of a host's workers in the text format of Prometheus."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..stats import Histogram
from .snapshot import MetricsSnapshot
from .workers import get_worker, read_siblings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """What describes a metric beside its numbers."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Sequence[str] = ()


# In the order of docs/operations.md. Each name begins with broadcasting_, and a counter's
# ends in _total.
FAMILIES: Mapping[str, Family] = {
    "connections": Family("gauge", "Open sockets.", ["app"]),
    "connections_opened": Family("counter", "Sockets that were admitted."),
    "connections_closed": Family(
        "counter", "Sockets that ended, by the server's close code.", ["code", "reason"]
    ),
    "channels": Family("gauge", "Channels with sockets of this worker.", ["kind"]),
    "subscriptions": Family("gauge", "Subscriptions of open sockets.", ["kind"]),
    "errors": Family("counter", "Errors that clients were told, by class.", ["error"]),
    "auth_failures": Family(
        "counter", "Sockets, subscriptions and API requests without a right.", ["reason"]
    ),
    "rate_limited": Family("counter", "What clients asked for beyond a limit.", ["what"]),
    "refused": Family("counter", "Clients turned away before they had a socket.", ["reason"]),
    "api_requests": Family("counter", "Requests of the HTTP API.", ["status"]),
    "messages_published": Family("counter", "Messages sent to the bus.", ["source"]),
    "messages_delivered": Family("counter", "Messages handed to sockets, once for each socket."),
    "bytes_sent": Family("counter", "Bytes of the messages handed to sockets."),
    "publish_seconds": Family("histogram", "Seconds until the bus took an API request's events."),
    "slow_consumers": Family("counter", "Sockets closed since they did not read."),
    "outbox_pending": Family("gauge", "Messages of API requests that the bus has not taken yet."),
    "bus_up": Family("gauge", "Whether the bus answers: 1 or 0."),
    "bus_reconnects": Family("counter", "How often the bus was lost and found again."),
    "bus_lag_seconds": Family("gauge", "Seconds of the last round trip to the bus."),
    "webhook_deliveries": Family(
        "counter", "Webhooks: events sent, requests failed, events dropped.", ["result"]
    ),
    "webhook_pending": Family("gauge", "Events that wait for webhooks."),
    "loop_lag_seconds": Family("gauge", "Seconds by which the last sweep came late."),
    "draining": Family("gauge", "Whether the worker is about to go: 1 or 0."),
}


def render(own: MetricsSnapshot) -> str:
    """
    Return the numbers of this worker, `own`, and of the other workers of the host.

    It reads files, also in ``/proc``: call it in a thread.
    """
    workers = [(get_worker().number, os.getpid(), own), *read_siblings()]
    registry = CollectorRegistry()
    registry.register(_Workers(workers))
    return generate_latest(registry).decode()


class _Workers(Collector):
    def __init__(self, workers: Sequence[tuple[int, int, MetricsSnapshot]]) -> None:
        self._workers = workers

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        for name, family in FAMILIES.items():
            yield self._family(name, family)
        yield from self._processes()

    def _family(self, name: str, family: Family) -> Metric:
        full, labels = f"broadcasting_{name}", ["worker", *family.labels]
        metric: Metric
        if family.kind == "histogram":
            metric = HistogramMetricFamily(full, family.help, labels=labels)
        elif family.kind == "counter":
            metric = CounterMetricFamily(full, family.help, labels=labels)
        else:
            metric = GaugeMetricFamily(full, family.help, labels=labels)
        for number, _, snapshot in self._workers:
            for values, value in snapshot.get(name, ()):
                # During an upgrade a sibling may be of another version.
                if len(values) == len(family.labels):
                    _add(metric, [str(number), *values], value)
        return metric

    def _processes(self) -> Iterable[Metric]:
        """Return what the system knows of each worker's process, under the usual names."""
        merged: dict[str, Metric] = {}
        for number, pid, _ in self._workers:
            for found in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                metric = merged.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type)
                )
                for sample in found.samples:
                    metric.add_sample(sample.name, {"worker": str(number)}, sample.value)
        return merged.values()


def _add(metric: Metric, labels: Sequence[str], value: float | list[float]) -> None:
    if isinstance(metric, HistogramMetricFamily) and isinstance(value, list):
        *counts, total = value
        running, buckets = 0.0, []
        for bound, count in zip([*map(str, Histogram.BOUNDS), "+Inf"], counts, strict=True):
            running += count
            buckets.append((bound, running))
        metric.add_metric(labels, buckets, total)
    elif isinstance(metric, CounterMetricFamily | GaugeMetricFamily) and not isinstance(
        value, list
    ):
        metric.add_metric(labels, value)

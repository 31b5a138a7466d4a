"""
The numbers of one hub at one moment, by family of metrics.

A snapshot is taken when somebody asks, and once a second for the other workers of the
host (`workers`), any of which may be asked.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..hub import Hub


# Of one family of metrics: the values of its labels, and a number or a histogram's list.
Sample = tuple[Sequence[str], float | list[float]]
MetricsSnapshot = Mapping[str, Sequence[Sample]]

# By close code. The codes of one reason are those of its `ClosingError`s.
_REASONS = {
    None: "client",
    4000: "insecure",
    4001: "unknown_application",
    4003: "disabled",
    4004: "over_quota",
    4005: "path",
    4006: "version",
    4007: "version",
    4009: "unauthorized",
    4100: "over_capacity",
    4200: "reconnect",
    4201: "pong_timeout",
    4202: "inactive",
}
# By class of `PusherError`.
_AUTH_FAILURES = {
    "Unauthorized": "signature",
    "ForbiddenOrigin": "origin",
    "UnknownApplication": "key",
    "ApplicationDisabled": "disabled",
    "InsecureTransport": "insecure",
    "NeverAuthorized": "timeout",
}
_LIMITS = {
    "ClientEventRejected": "client_events",
    "OverQuota": "connections",
    "TooManyChannels": "subscriptions",
    "TooManyMembers": "members",
    "WatchlistTooLong": "watchlist",
}


def take_snapshot(hub: "Hub") -> MetricsSnapshot:
    """Return every number of `hub`, by family. No label names a channel or a user."""
    stats, webhooks = hub.stats, hub.webhooks
    stats.census.take(lambda: hub.topics)
    return {
        "connections": _by(hub.connections),
        "connections_opened": [((), stats.opened)],
        "connections_closed": [
            (("none" if code is None else str(code), _REASONS.get(code, "other")), count)
            for code, count in stats.closed.items()
        ],
        "channels": _by(stats.census.channels),
        "subscriptions": _by(stats.census.subscriptions),
        "errors": _by(stats.errors),
        "auth_failures": [
            *(((reason,), stats.errors[name]) for name, reason in _AUTH_FAILURES.items()),
            (("api",), stats.answered[401]),
        ],
        "rate_limited": [((what,), stats.errors[name]) for name, what in _LIMITS.items()],
        "refused": _by(stats.refused),
        "api_requests": [((str(status),), count) for status, count in stats.answered.items()],
        "messages_published": _by(stats.published),
        "messages_delivered": [((), stats.delivered)],
        "bytes_sent": [((), stats.delivered_bytes)],
        "publish_seconds": [((), [*stats.publish_seconds.counts, stats.publish_seconds.total])],
        "slow_consumers": [((), stats.slow_readers)],
        "outbox_pending": [((), stats.publishing)],
        "bus_up": [((), int(hub.has_bus))],
        "bus_reconnects": [((), hub.broker.reconnects)],
        "bus_lag_seconds": [((), stats.bus_lag)],
        "webhook_deliveries": [
            (("sent",), sum(webhook.sent for webhook in webhooks)),
            (("failed",), sum(webhook.failed for webhook in webhooks)),
            (("dropped",), sum(webhook.dropped for webhook in webhooks)),
        ],
        "webhook_pending": [((), sum(webhook.waiting for webhook in webhooks))],
        "loop_lag_seconds": [((), stats.loop_lag)],
        "draining": [((), int(hub.is_draining))],
    }


def _by(numbers: Mapping[str, int]) -> list[Sample]:
    return [((label,), number) for label, number in numbers.items()]

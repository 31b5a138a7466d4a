"""What one `event()` costs the process that fires it, over Redis: prints JSON. See `make bench`."""

import json
import os
import time
from collections.abc import Callable
from statistics import median

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.site.settings")
django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402

from broadcasting import Channel, ShouldBroadcast, event  # noqa: E402

PARTS = 20
EVENTS = 2_000
SENDS = 500


class OrderShipped(ShouldBroadcast):
    """An event of about 100 bytes."""

    def __init__(self, channels: int) -> None:
        self.text = "x" * 60
        self.number = 4711
        self._channels = [Channel(f"bench-{i}") for i in range(channels)]

    def broadcast_on(self) -> list[Channel]:
        """Return the channels it goes to."""
        return self._channels


def microseconds(call: Callable[[], object], times: int) -> float:
    """
    Return how long `call` takes: the median of parts, the first of which is left out.

    What else the machine does falls into some of them.
    """
    parts = []
    for _ in range(PARTS + 1):
        start = time.perf_counter()
        for _ in range(times // PARTS):
            call()
        parts.append((time.perf_counter() - start) / (times // PARTS) * 1e6)
    return median(parts[1:])


def main() -> None:
    """Measure and print."""
    one, ten = OrderShipped(1), OrderShipped(10)
    group_send = async_to_sync(get_channel_layer().group_send)
    figures = {
        "event_us": microseconds(lambda: event(one), EVENTS),
        "event_10_channels_us": microseconds(lambda: event(ten), EVENTS // 4),
        "group_send_us": microseconds(
            lambda: group_send("bench", {"type": "bench.message", "data": "x" * 100}), SENDS
        ),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

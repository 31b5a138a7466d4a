"""
What requests wait for when Redis hangs, with the circuit breaker and without.

``python -m benchmarks.hang``, half a minute. It starts a Redis of its own, stops it with
SIGSTOP, and broadcasts one event after the other. The driver waits a second for each
answer; it waits five unless told otherwise.
"""

import argparse
import logging
import signal
import time

import django
from django.conf import settings

BROADCASTS = 20

settings.configure(
    INSTALLED_APPS=["broadcasting"],
    SECRET_KEY="of a benchmark",  # noqa: S106 (it signs nothing)
)
django.setup()

from django.test import override_settings  # noqa: E402

from broadcasting import broadcast_to  # noqa: E402

from .peers import Redis  # noqa: E402


def seconds(redis: Redis, breaker: dict[str, float] | None, number: int) -> float:
    """Return how long `number` broadcasts take while Redis hangs."""
    entry = {
        "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
        "URL": redis.url,
        "TIMEOUT": 1,
    }
    with override_settings(
        BROADCASTING={
            "DEFAULT": "redis",
            "CONNECTIONS": {"redis": entry},
            "CIRCUIT_BREAKER": breaker,
        }
    ):
        broadcast_to("news", "Warm", {})
        redis.send_signal(signal.SIGSTOP)
        try:
            started = time.monotonic()
            for _ in range(number):
                broadcast_to("news", "Said", {"text": "x"})
            return time.monotonic() - started
        finally:
            redis.send_signal(signal.SIGCONT)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broadcasts", type=int, default=BROADCASTS)
    number = parser.parse_args().broadcasts
    logging.getLogger("broadcasting").setLevel(logging.CRITICAL)
    redis = Redis()
    try:
        guarded = seconds(redis, {}, number)
        unguarded = seconds(redis, None, number)
    finally:
        redis.stop()
    print(f"{number} broadcasts to a Redis that hangs:")
    print(f"{unguarded:6.1f} s without a circuit breaker")
    print(f"{guarded:6.1f} s with it: {unguarded / guarded:.1f} times less")


if __name__ == "__main__":
    main()

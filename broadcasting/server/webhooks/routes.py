"""
The webhooks of all applications: which endpoints an event is posted to.

Theory of operation
-------------------

Each webhook is an `Endpoint`, which has a queue, and a task while something is in it.
The task posts all that waits, up to a limit, in one body. It takes the events off the
queue when the endpoint has answered 2xx; until then it repeats the same bytes, at
growing intervals. One request at a time for each endpoint keeps the order, and a slow
endpoint delays no other.

An event is dropped when it has waited for five minutes, which is also when Pusher's
SDKs begin to refuse it as too old, or at once when too much waits already. Both are
counted.

A request runs in a thread of its own, at most one for each endpoint. A pool would not
do: endpoints that hang would take up its places, and the end of the process waits for
its threads.

Rules of this package:

* `Webhooks.add` does not await, block or raise.
* The bytes that are signed are the bytes that are sent.
* A connection goes to an address that was checked, never to a name.
"""

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Mapping

from ...applications import Application
from .addresses import Resolve, resolve
from .endpoint import Clock, Endpoint, Sleep
from .sender import Sender

logger = logging.getLogger("broadcasting.webhooks")

CACHE_MISS_EVERY = 1.0  # Seconds in which the misses of one channel are posted once.


class Webhooks:
    """
    The webhooks of all applications, for one event loop.

    Nothing runs before an event happens that a webhook asks for. Call `close` on the
    same loop in the end.

    Args:
        clock: Returns Unix seconds.
        sleep: Waits for so many seconds.
        resolve: Returns the addresses of a host and port, as `addresses.resolve`.
        timeout: Seconds to wait for a connection, and for any part of an answer.
        total: Seconds after which a request has failed, whatever it is doing.
    """

    def __init__(
        self,
        apps: Iterable[Application],
        *,
        clock: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
        resolve: Resolve = resolve,
        timeout: float = 5.0,
        total: float = 15.0,
    ) -> None:
        self._clock = clock
        self._routes: dict[tuple[str, str], list[Endpoint]] = {}
        self._misses: dict[tuple[str, str], float] = {}  # When each was posted, oldest first.
        self._closed = False
        self.endpoints: list[Endpoint] = []
        for app in apps:
            for webhook in app.webhooks:
                sender = Sender(webhook, resolve=resolve, timeout=timeout, total=total)
                endpoint = Endpoint(app, webhook, sender, clock, sleep)
                self.endpoints.append(endpoint)
                for name in dict.fromkeys(webhook.events):
                    self._routes.setdefault((app.id, name), []).append(endpoint)

    def wants(self, app_id: str, name: str, channel: str) -> bool:
        """Return whether any webhook asks for events `name` of this channel. It is cheap."""
        return not self._closed and bool(self._takers(app_id, name, channel))

    def add(self, app_id: str, event: Mapping[str, object]) -> None:
        """
        Post `event` to the webhooks that ask for it.

        `event` has the fields that Pusher's "Webhooks" document lists: ``name``,
        ``channel`` and those of that name. It may be changed after the call.
        """
        name, channel = str(event.get("name")), str(event.get("channel"))
        takers = self._takers(app_id, name, channel)
        if not takers or (name == "cache_miss" and self._is_repeated(app_id, channel)):
            return
        try:
            encoded = _encode(event)
        except (TypeError, ValueError, RecursionError) as exc:
            logger.error("A %s of %s cannot be JSON: %s", name, channel, exc)
            for endpoint in takers:
                endpoint.dropped += 1
            return
        for endpoint in takers:
            endpoint.add(encoded)

    async def close(self, timeout: float) -> None:
        """
        Post what waits, for `timeout` seconds at most, and drop the rest.

        Events that wait for another attempt are posted now. Events that are added later
        are dropped. Calling it again does nothing.
        """
        self._closed = True
        await asyncio.gather(*(endpoint.close(timeout) for endpoint in self.endpoints))

    def _takers(self, app_id: str, name: str, channel: str) -> list[Endpoint]:
        return [each for each in self._routes.get((app_id, name), ()) if each.covers(channel)]

    def _is_repeated(self, app_id: str, channel: str) -> bool:
        """Return whether a miss of this channel was posted just now; note this one if not."""
        now = self._clock()
        while self._misses:
            oldest = next(iter(self._misses))
            if 0 <= now - self._misses[oldest] < CACHE_MISS_EVERY:
                break
            del self._misses[oldest]
        is_repeated = (app_id, channel) in self._misses
        self._misses.setdefault((app_id, channel), now)
        return is_repeated


def _encode(event: Mapping[str, object]) -> bytes:
    try:
        return _dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _dumps(event, ensure_ascii=True).encode()  # Lone surrogates need escapes.


def _dumps(event: Mapping[str, object], *, ensure_ascii: bool) -> str:
    return json.dumps(
        dict(event), ensure_ascii=ensure_ascii, separators=(",", ":"), allow_nan=False
    )

"""
How many sockets each channel has: noted in the presence, announced to subscribers.

Changes within one turn of the loop are announced together. Subscribers of an
application with ``SUBSCRIPTION_COUNT`` are told each new number, but above a hundred of
them at most one in five seconds, and then always the last (Pusher, "Subscription
counting").
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ..applications import Application
from ..drivers.base import Broker
from ..exceptions import BroadcastError
from ..protocol.messages import SUBSCRIPTION_COUNT, Message, split_topic, subscription_count_data
from ..protocol.names import is_presence, is_reserved
from .notifier import Notifier

logger = logging.getLogger("broadcasting.server")

MANY = 100  # Subscribers.
EVERY = 5.0  # Seconds.


class SubscriptionCounts:
    """
    The numbers of one hub.

    Args:
        count_live: Returns how many sockets of this process are in a topic now.
        spawn: Runs a coroutine as a task of the hub.
    """

    def __init__(
        self,
        broker: Broker,
        apps: Mapping[str, Application],
        notifier: Notifier,
        count_live: Callable[[str], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._broker = broker
        self._apps = apps
        self._notifier = notifier
        self._count_live = count_live
        self._spawn = spawn
        self._clock = asyncio.get_running_loop().time
        self._changed: dict[str, bool] = {}  # Topic -> whether a socket came.
        self._is_announcing = False
        self._announced: dict[str, float] = {}  # When a topic's subscribers were told last.
        self._late: set[str] = set()

    def change(self, topic: str, *, is_newcomer: bool = False) -> None:
        """
        Note that a socket has come into `topic`, or has left it.

        A newcomer is told the number even if as many have left meanwhile.
        """
        if is_reserved(split_topic(topic)[1]):
            return
        self._changed[topic] = is_newcomer or self._changed.get(topic, False)
        if not self._is_announcing:
            self._is_announcing = True
            self._spawn(self._announce_changes())

    def recount(self, topic: str) -> None:
        """Announce the number of `topic` with the next `announce_late`."""
        if self._wants_count(topic):
            self._late.add(topic)

    async def announce_late(self) -> None:
        """Announce the numbers that were not announced when they changed. Called each second."""
        late, self._late = self._late, set()
        if not late:
            return
        try:
            sizes = await self._broker.presence.sizes(sorted(late))
        except BroadcastError:
            self._late |= late
            raise
        await self._announce({name: sockets for name, (sockets, _) in sizes.items()})

    async def _announce_changes(self) -> None:
        try:
            while self._changed:
                changed, self._changed = self._changed, {}
                totals = await self._broker.presence.count(
                    {name: self._count_live(name) for name in changed}
                )
                await self._announce(
                    {
                        name: new
                        for name, (old, new) in totals.items()
                        if old != new or (new and changed[name])
                    }
                )
        except BroadcastError as exc:
            logger.debug("Subscribers were not told their number: %s", exc)
        finally:
            self._is_announcing = False

    async def _announce(self, counts: Mapping[str, int]) -> None:
        due = {name: count for name, count in counts.items() if self._is_due(name, count)}
        if not due:
            return  # As always where no application wants numbers: the bus is not asked.
        try:
            for name, count in due.items():
                if count:
                    data = subscription_count_data(count)
                    await self._broker.publish(Message(name, SUBSCRIPTION_COUNT, data))
                self._notifier.counted(name, count)
            # Counting and publishing are two steps: another process may have counted later
            # and published sooner. Who published last sees here that the number is old.
            sizes = await self._broker.presence.sizes([name for name in due if due[name]])
        except BroadcastError:
            self._late.update(due)
            raise
        self._late.update(name for name, (sockets, _) in sizes.items() if sockets != due[name])

    def _is_due(self, name: str, count: int) -> bool:
        """Return whether to announce `count` now. Remember it if that is to be done later."""
        if not self._wants_count(name):
            return False
        now = self._clock()
        if count > MANY and now - self._announced.get(name, -EVERY) < EVERY:
            self._late.add(name)
            return False
        if count:
            self._announced[name] = now
        else:
            self._announced.pop(name, None)
        return True

    def _wants_count(self, name: str) -> bool:
        app_id, channel = split_topic(name)
        app = self._apps.get(app_id)
        is_counted = not (is_presence(channel) or is_reserved(channel))
        return app is not None and app.subscription_count and is_counted

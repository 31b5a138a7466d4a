"""
How many sockets each channel has: told to the presence, and to subscribers who ask.

Changes of one turn of the loop are told together. Subscribers of an application that
has ``SUBSCRIPTION_COUNT`` hear each new number, but above a hundred of them at most
one in five seconds, and then always the last (Pusher, "Subscription counting").
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ..credentials import Application
from ..drivers.base import Broker
from ..exceptions import BroadcastError
from ..protocol.messages import SUBSCRIPTION_COUNT, Message, subscription_count_data
from ..protocol.names import is_presence, is_reserved
from .reports import Reports

logger = logging.getLogger("broadcasting.server")

MANY = 100  # Subscribers.
EVERY = 5.0  # Seconds.


class SubscriptionCounts:
    """
    The numbers of one hub.

    Args:
        local: Returns how many sockets of this process are in a topic now.
        spawn: Runs a coroutine as a task of the hub.
    """

    def __init__(
        self,
        broker: Broker,
        apps: Mapping[str, Application],
        reports: Reports,
        local: Callable[[str], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._broker = broker
        self._apps = apps
        self._reports = reports
        self._local = local
        self._spawn = spawn
        self._clock = asyncio.get_running_loop().time
        self._changed: set[str] = set()
        self._is_telling = False
        self._announced: dict[str, float] = {}  # When a topic's subscribers heard last.
        self._late: set[str] = set()

    def change(self, topic: str) -> None:
        """Take note that the number of sockets in `topic` is another one."""
        if is_reserved(topic.partition(":")[2]):
            return
        self._changed.add(topic)
        if not self._is_telling:
            self._is_telling = True
            self._spawn(self._tell())

    async def announce_late(self) -> None:
        """Tell the numbers that could not be told when they changed. Called each second."""
        now = self._clock()
        due = [name for name in self._late if now - self._announced.get(name, -EVERY) >= EVERY]
        if due:
            self._late.difference_update(due)
            for name, (sockets, _) in (await self._broker.presence.sizes(due)).items():
                await self._announce(name, sockets)

    async def _tell(self) -> None:
        try:
            while self._changed:
                changed, self._changed = self._changed, set()
                totals = await self._broker.presence.count(
                    {name: self._local(name) for name in changed}
                )
                for name, (old, new) in totals.items():
                    if old != new:
                        await self._announce(name, new)
        except BroadcastError as exc:
            logger.debug("Subscribers were not told their number: %s", exc)
        finally:
            self._is_telling = False

    async def _announce(self, name: str, count: int) -> None:
        app_id, _, channel = name.partition(":")
        app = self._apps.get(app_id)
        if app is None or not app.subscription_count or is_presence(channel):
            return
        now = self._clock()
        if count > MANY and now - self._announced.get(name, -EVERY) < EVERY:
            self._late.add(name)
            return
        self._reports.counted(name, count)
        if not count:
            self._announced.pop(name, None)
            return
        self._announced[name] = now
        data = subscription_count_data(count)
        await self._broker.publish(Message(app_id, channel, SUBSCRIPTION_COUNT, data))

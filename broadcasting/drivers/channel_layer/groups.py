"""
Messages on their way through the groups of a channel layer.

A layer drops messages silently when a mailbox is full or a server restarts. So each message
has a sender and the sender's number for it, counted per topic. A reader that sees a hole
counts and logs it.
"""

import hashlib
import secrets
from collections import OrderedDict

from channels.layers import BaseChannelLayer

from ...exceptions import BroadcastError
from ...protocol.messages import Message
from ..batch_queue import BatchQueue


def group_of(topic: str) -> str:
    """Return the group's name: Channels allows fewer characters, and fewer of them."""
    return f"broadcasting.{hashlib.sha256(topic.encode()).hexdigest()[:40]}"


class GroupQueue(BatchQueue[Message, None]):
    """
    Sends messages to their groups one by one, numbered per topic.

    Args:
        layer: Where they go.
    """

    TIMEOUT = 10.0  # Seconds that the layer may take for a message.
    TOPICS = 100_000  # Topics that are counted. Then a new sender begins without any.

    def __init__(self, layer: BaseChannelLayer) -> None:
        super().__init__(
            self._send_to_groups, name="The channel layer", timeout=self.TIMEOUT, batch=1
        )
        self._layer = layer
        self._sender = secrets.token_hex(8)
        self._numbers: dict[str, int] = {}

    async def _send_to_groups(self, batch: list[Message]) -> list[Exception | None]:
        return [await self._send_to_group(message) for message in batch]

    async def _send_to_group(self, message: Message) -> Exception | None:
        number = self._next(message.topic)
        body = {
            "type": "broadcasting.message",
            "topic": message.topic,
            "event": message.event,
            "data": message.data,
            "socket": message.socket_id,
            "user": message.user_id,
            "number": number,
            "sender": self._sender,
        }
        try:
            await self._layer.group_send(group_of(message.topic), body)
        except Exception as exc:  # A layer's errors have no common base.
            error = BroadcastError(f"The channel layer did not take the message: {exc}")
            error.__cause__ = exc
            return error
        return None

    def _next(self, topic: str) -> int:
        if len(self._numbers) >= self.TOPICS and topic not in self._numbers:
            self._sender = secrets.token_hex(8)
            self._numbers.clear()
        self._numbers[topic] = self._numbers.get(topic, 0) + 1
        return self._numbers[topic]


class GapCounter:
    """Finds holes and repetitions in the numbers that senders gave to their messages."""

    SENDERS = 100  # Remembered per topic; every command run from a shell is a new one.

    def __init__(self) -> None:
        self._last: dict[str, OrderedDict[str, int]] = {}

    def missing_before(self, topic: str, sender: str, number: int) -> int:
        """Return how many messages were lost before this one, -1 if it came before."""
        senders = self._last.setdefault(topic, OrderedDict())
        last = senders.get(sender)
        if last is not None and number <= last:
            return -1
        senders[sender] = number
        senders.move_to_end(sender)
        if len(senders) > self.SENDERS:
            senders.popitem(last=False)
        return 0 if last is None else number - last - 1

    def forget(self, topic: str) -> None:
        """Start again for `topic`: what is sent while nobody listens is not lost."""
        self._last.pop(topic, None)

"""What the tests broadcast."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from broadcasting import Channel, PrivateChannel, ShouldBroadcast, ShouldBroadcastNow
from broadcasting.queueing.worker import send_queued


@dataclass
class OrderShipped(ShouldBroadcast):
    """Goes to whoever looks at the order."""

    order: int
    total: int = 5

    def broadcast_on(self) -> list[Channel | str]:
        return [PrivateChannel(f"orders.{self.order}"), "orders"]


class OrderLost(OrderShipped):
    """A subclass with another name for clients."""

    def broadcast_as(self) -> str:
        return "order:lost"


@dataclass
class OrderPaid(ShouldBroadcastNow):
    """Does not wait for a commit."""

    receipt: UUID

    def broadcast_on(self) -> str:
        return "orders"

    def broadcast_with(self) -> dict[str, object]:
        return {"receipt": self.receipt, "buyer": {"id": 7, "tags": ["a", "b"]}}


@dataclass
class OrderCounted(ShouldBroadcast):
    """Waits for a worker, and for newer ones."""

    queue: str | bool | None = True

    def broadcast_on(self) -> str:
        return "orders"

    def broadcast_with(self) -> dict[str, object]:
        return {}

    def broadcast_queue(self) -> str | bool | None:
        return self.queue

    def broadcast_debounce(self) -> float:
        return 60


def refuse(*args: object, **kwargs: object) -> None:
    """Stand for a queue into which nothing may be put."""
    raise AssertionError("A fake does not keep from the queue")


def run_at_once(envelope: dict[str, Any], **options: object) -> None:
    """Stand for a queue that does not wait for a worker."""
    send_queued(envelope)

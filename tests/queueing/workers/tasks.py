"""The recipe for Celery of docs/queues.md."""

from typing import Any

from celery import shared_task  # type: ignore[import-untyped]  # It has no types.

from broadcasting.queueing.worker import send_queued


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def send_broadcast(envelope: dict[str, Any]) -> None:
    send_queued(envelope)


def enqueue(envelope: dict[str, Any], *, queue: str, delay: float) -> None:
    send_broadcast.apply_async([envelope], queue=queue, countdown=delay)

"""The recipe for RQ of docs/queues.md."""

from datetime import timedelta
from typing import Any

import django_rq

from broadcasting.queueing.worker import send_queued


def enqueue(envelope: dict[str, Any], *, queue: str, delay: float) -> None:
    jobs = django_rq.get_queue(queue)
    if delay:
        jobs.enqueue_in(timedelta(seconds=delay), send_queued, envelope)
    else:
        jobs.enqueue(send_queued, envelope)

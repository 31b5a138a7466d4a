"""A connection into the log, to see what would be sent."""

import json
import logging
from collections.abc import Sequence
from typing import Unpack

from .base import Broadcaster, Options

logger = logging.getLogger("broadcasting.drivers")


class LogBroadcaster(Broadcaster):
    """Write each message as one INFO record of the logger ``broadcasting.drivers``."""

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        """Log event, channels and the data as indented JSON."""
        pretty = json.dumps(json.loads(data), ensure_ascii=False, indent=2)
        socket_id = options.get("socket_id")
        others = "" if socket_id is None else f" but socket {socket_id}"
        logger.info(
            "Broadcasting [%s] on channels [%s]%s with data:\n%s",
            event,
            ", ".join(channels),
            others,
            pretty,
        )

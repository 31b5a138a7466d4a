"""
The signed HTTP API as a connection: our own server or any other that speaks it.

It only writes. Drivers whose bus ends at the process reach the one that serves with it.
"""

import json
import time
from collections.abc import Sequence
from urllib.parse import urlencode

import urllib3

from ..credentials import Application
from ..exceptions import BroadcastError
from ..protocol.signatures import sign_request
from .base import DEFAULT_URL, Broadcaster

CHANNELS_PER_REQUEST = 100  # Pusher's limit.


class PusherBroadcaster(Broadcaster):
    """
    Post messages to ``/apps/<id>/events`` (Pusher, "HTTP API reference", "POST event").

    Args:
        url: ``http(s)://host[:port][/prefix]`` of the server.
        timeout: Seconds to wait for a connection, and for an answer.
        pool_size: Connections kept open; further ones are made and dropped.
    """

    def __init__(
        self,
        *,
        app: Application,
        first_app_id: str,
        url: str = DEFAULT_URL,
        timeout: float = 5.0,
        pool_size: int = 10,
    ) -> None:
        super().__init__(app=app, first_app_id=first_app_id)
        self.url = url.rstrip("/")
        # A request that may have arrived is not sent again: at most once.
        self._http = urllib3.PoolManager(
            maxsize=pool_size, timeout=timeout, retries=False, headers=_HEADERS
        )

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, *, socket_id: str | None = None
    ) -> None:
        """Send one request per hundred channels."""
        for start in range(0, len(channels), CHANNELS_PER_REQUEST):
            body = {
                "name": event,
                "data": data,
                "channels": list(channels[start : start + CHANNELS_PER_REQUEST]),
            }
            if socket_id is not None:
                body["socket_id"] = socket_id
            self._post(f"/apps/{self.app.id}/events", json.dumps(body).encode())

    def terminate_user_connections(self, user_id: str) -> None:
        """Post to ``users/<id>/terminate_connections``."""
        self._post(f"/apps/{self.app.id}/users/{user_id}/terminate_connections", b"{}")

    def close(self) -> None:
        """Close the kept connections."""
        self._http.clear()

    def _post(self, path: str, body: bytes) -> None:
        query = sign_request(self.app, "POST", path, body, int(time.time()))
        address = f"{self.url}{path}"
        try:
            response = self._http.request("POST", f"{address}?{urlencode(query)}", body=body)
        except urllib3.exceptions.HTTPError as exc:
            raise BroadcastError(
                f"No server answers at {self.url} ({type(exc).__name__}). Start one with "
                f"`python manage.py runserver`, or correct the connection's URL."
            ) from exc
        if response.status != 200:
            reason = response.data.decode(errors="replace").strip()[:500]
            raise BroadcastError(f"{address} answered {response.status}: {reason}")


class ServingProcess(PusherBroadcaster):
    """
    The process that serves sockets, as others of the same machine reach it.

    Its time limit is short: a request may be waiting.
    """

    def __init__(self, *, app: Application, first_app_id: str, url: str) -> None:
        super().__init__(app=app, first_app_id=first_app_id, url=url, timeout=2.0)


_HEADERS = {"Content-Type": "application/json", "User-Agent": "broadcasting"}

"""A page, as a server sees it: a socket that speaks the Pusher protocol."""

import asyncio
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from broadcasting.applications import Application
from broadcasting.drivers.pusher import PusherBroadcaster
from broadcasting.protocol.names import is_guarded, is_presence, user_channel
from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.conftest import RunningServer
from tests.utils import PATIENCE, await_until, pong, sign_in, subscribe, unsubscribe


class Client:
    """
    A connection that reads all the time and answers pings. ``async with`` closes it.

    Attributes:
        frames: What the server has sent except pings, ``data`` decoded where it is JSON.
        socket_id: The socket's id; empty if the server refused the connection.
    """

    def __init__(self, socket: ClientConnection, app: Application) -> None:
        self.frames: list[dict[str, Any]] = []
        self.socket_id = ""
        self._socket = socket
        self._app = app
        self._taken = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        port: int,
        app: Application,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        address: str | None = None,
    ) -> Self:
        """Connect, from `address` if it is given, and wait for a greeting or a refusal."""
        client = cls(
            await connect(
                f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/app/{app.key}?protocol=7",
                ssl=tls,
                additional_headers=headers,
                local_addr=(address, 0) if address else None,
                open_timeout=PATIENCE,
                ping_interval=None,  # The server looks after connections.
            ),
            app,
        )
        await await_until(lambda: client.socket_id or not client.is_open, what="a greeting")
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return not self._reader.done()

    async def send(self, text: str) -> None:
        """Send a frame."""
        await self._socket.send(text)

    async def join(self, channel: str, user: str = "", auth: str | None = None) -> Any:
        """
        Subscribe and return what the confirmation says.

        `user` joins a presence channel; `auth` is what a server has signed.
        """
        before = len(self.log("subscription_succeeded", channel))
        info = {"user_id": user, "user_info": {"name": user.upper()}}
        data = json.dumps(info) if is_presence(channel) else None
        if auth is None and is_guarded(channel):
            auth = sign_channel(self._app, self.socket_id, channel, data)
        await self.send(subscribe(channel, auth=auth, channel_data=data))
        return (await self.heard("subscription_succeeded", channel, before + 1))[-1]

    async def leave(self, channel: str) -> None:
        """Unsubscribe. The server does not confirm it."""
        await self.send(unsubscribe(channel))

    async def sign_in(self, user: str, *watchlist: str) -> None:
        """Sign in as a user and subscribe to the user's own channel, as pusher-js does."""
        data = json.dumps({"id": user, "watchlist": watchlist})
        await self.send(sign_in(data, sign_user(self._app, self.socket_id, data)))
        await self.heard("signin_success")
        await self.join(user_channel(user))

    def log(self, event: str, channel: str | None = None) -> list[Any]:
        """Return the data of the events so far; the server's own go without their prefix."""
        names = {event, f"pusher:{event}", f"pusher_internal:{event}"}
        return [
            frame.get("data")
            for frame in self.frames
            if frame["event"] in names and frame.get("channel") == channel
        ]

    async def heard(self, event: str, channel: str | None = None, number: int = 1) -> list[Any]:
        """Wait until `log` has `number` entries and return it."""
        what = f"{number} times {event} of {channel}"
        await await_until(lambda: len(self.log(event, channel)) >= number, what=what)
        return self.log(event, channel)

    async def events(self, count: int) -> list[tuple[str, str, Any]]:
        """Return the channel, name and data of the next `count` events of the site."""

        def since() -> list[tuple[str, str, Any]]:
            return [
                (frame["channel"], frame["event"], frame["data"])
                for frame in self.frames
                if not frame["event"].startswith(("pusher:", "pusher_internal:"))
            ][self._taken :]

        await await_until(lambda: len(since()) >= count, what=f"{count} events")
        found = since()[:count]
        self._taken += count
        return found

    async def close(self) -> None:
        """Disconnect, as a closed page does."""
        await self._socket.close()
        await self._reader

    async def close_code(self) -> int | None:
        """Wait until the server closes the connection and return its code."""
        async with asyncio.timeout(2 * PATIENCE):
            await self._socket.wait_closed()
        return self._socket.close_code

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self._socket:
                frame: dict[str, Any] = json.loads(text)
                with suppress(KeyError, TypeError, ValueError):
                    frame["data"] = json.loads(frame["data"])
                match frame["event"]:
                    case "pusher:ping":
                        await self._socket.send(pong())
                    case "pusher:connection_established":
                        self.socket_id = frame["data"]["socket_id"]
                    case _:
                        self.frames.append(frame)


@contextmanager
def api(site: RunningServer, app: Application) -> Iterator[PusherBroadcaster]:
    """Yield what uses the HTTP API of `site`, as another process of the site does."""
    broadcaster = PusherBroadcaster(app=app, first_app_id=app.id, url=site.url)
    try:
        yield broadcaster
    finally:
        broadcaster.close()

"""Pusher's own SDKs, and a site that they talk to."""

import asyncio
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pusher
from websockets.asyncio.client import ClientConnection, connect

from broadcasting.applications import Application
from broadcasting.protocol.names import is_guarded, user_channel
from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.conftest import ROOT, RunningServer, find_program
from tests.e2e import sdk_settings
from tests.utils import decode, pong, sign_in, subscribe

_RAW = sdk_settings.APP
MASTER_KEY = _RAW["ENCRYPTION_MASTER_KEY_BASE64"]
APP = Application(
    id=_RAW["ID"],
    key=_RAW["KEY"],
    secret=_RAW["SECRET"],
    encryption_master_key=sdk_settings.MASTER_KEY,
)

SCRIPTS = Path(__file__).parent / "node"
MODULES = ROOT / "var" / "node" / "node_modules"


@contextmanager
def python_sdk(port: int = 1) -> Iterator[pusher.Pusher]:
    """Yield Pusher's SDK for Python, towards a server on `port` of this machine."""
    client = pusher.Pusher(
        app_id=APP.id,
        key=APP.key,
        secret=APP.secret,
        ssl=False,
        host="127.0.0.1",
        port=port,
        encryption_master_key_base64=MASTER_KEY,
    )
    try:
        yield client
    finally:
        for part in (client._pusher_client, client._authentication_client):
            part.http.session.close()


def node_options(port: int = 1) -> dict[str, Any]:
    """Return what the constructor of Pusher's SDK for Node is given."""
    return {
        "appId": APP.id,
        "key": APP.key,
        "secret": APP.secret,
        "useTLS": False,
        "host": "127.0.0.1",
        "port": port,
        "encryptionMasterKeyBase64": MASTER_KEY,
    }


def node_command(script: str) -> list[str]:
    """Return the command that runs a script of `SCRIPTS`."""
    return [find_program("node", "nodejs"), str(SCRIPTS / script)]


def node_environment() -> dict[str, str]:
    """Return the environment in which such a script finds its packages."""
    if not (MODULES / "pusher").is_dir():
        raise AssertionError("Pusher's SDK for Node is not installed; `make test` installs it.")
    return {"NODE_PATH": str(MODULES)}


def node_sdk(*calls: tuple[Any, ...], port: int = 1) -> list[Any]:
    """Call methods of Pusher's SDK for Node, in one process; return their outcomes."""
    request = {"options": node_options(port), "calls": calls}
    done = subprocess.run(
        node_command("sdk.js"),
        input=json.dumps(request),
        env=node_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    outcomes: list[Any] = json.loads(done.stdout)
    return outcomes


class Receiver(ThreadingHTTPServer):
    """Where webhooks are posted to. Keeps the headers and the body of each."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.requests: list[tuple[dict[str, str], str]] = []

    @property
    def url(self) -> str:
        """The address to give to the server."""
        return f"http://127.0.0.1:{self.server_address[1]}/hooks?a=b"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events that have come, in order."""
        return [event for _, body in self.requests for event in json.loads(body)["events"]]


class _ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((headers, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Yield a running `Receiver`."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Client:
    """
    A page, as the server sees it.

    Attributes:
        socket_id: What the server calls it.
    """

    TIMEOUT = 20.0

    def __init__(self, socket: ClientConnection, socket_id: str) -> None:
        self.socket = socket
        self.socket_id = socket_id

    async def join(self, channel: str, member: str | None = None) -> None:
        """Subscribe, as user `member` to a presence channel; return when that is confirmed."""
        data = None if member is None else json.dumps({"user_id": member})
        auth = sign_channel(APP, self.socket_id, channel, data) if is_guarded(channel) else None
        await self.join_with(channel, auth, data)

    async def join_with(self, channel: str, auth: str | None, data: str | None) -> None:
        """Subscribe with what somebody else has signed; return when that is confirmed."""
        await self.socket.send(subscribe(channel, auth=auth, channel_data=data))
        await self._expect("pusher_internal:subscription_succeeded")

    async def sign_in(self, user_id: str) -> None:
        """Sign in as a user, and join the user's own channel."""
        user = json.dumps({"id": user_id})
        await self.socket.send(sign_in(user, sign_user(APP, self.socket_id, user)))
        await self._expect("pusher:signin_success")
        await self.join(user_channel(user_id))  # As pusher-js does.

    async def events(self, count: int) -> list[tuple[str, str, Any]]:
        """Return channel, name and data of the next `count` events."""
        frames = [await self._frame() for _ in range(count)]
        return [(frame["channel"], frame["event"], frame["data"]) for frame in frames]

    async def close_code(self) -> int | None:
        """Return the code with which the server ends the connection."""
        async with asyncio.timeout(self.TIMEOUT):
            await self.socket.wait_closed()
        return self.socket.close_code

    async def _expect(self, event: str) -> None:
        frame = await self._frame()
        while frame["event"] == "pusher_internal:member_added":  # Of a channel joined before.
            frame = await self._frame()
        assert frame["event"] == event, frame

    async def _frame(self) -> dict[str, Any]:
        async with asyncio.timeout(self.TIMEOUT):
            while True:
                frame: dict[str, Any] = json.loads(await self.socket.recv())
                with suppress(ValueError, TypeError, KeyError):  # SDKs send plain text, too.
                    frame["data"] = json.loads(frame["data"])
                if frame["event"] != "pusher:ping":
                    return frame
                await self.socket.send(pong())


@asynccontextmanager
async def client(site: RunningServer) -> AsyncIterator[Client]:
    """Yield a new connection to `site`."""
    async with connect(f"ws://127.0.0.1:{site.port}/app/{APP.key}?protocol=7") as socket:
        frame = decode(str(await socket.recv()))
        yield Client(socket, frame["data"]["socket_id"])


@asynccontextmanager
async def pusher_js(site: RunningServer, *channels: str) -> AsyncIterator[asyncio.StreamReader]:
    """Yield the lines of a pusher-js that has joined `channels`, each an event in JSON."""
    request = {
        "options": node_options(site.port),
        "client": {
            "cluster": "",
            "wsHost": "127.0.0.1",
            "wsPort": site.port,
            "forceTLS": False,
            "enabledTransports": ["ws"],
            "enableStats": False,
        },
        "channels": channels,
    }
    process = await asyncio.create_subprocess_exec(
        *node_command("listen.js"),
        json.dumps(request),
        env=node_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(Client.TIMEOUT):
            assert "socketId" in json.loads(await process.stdout.readline())
        yield process.stdout
    finally:
        process.stdin.close()
        await process.wait()

"""Pusher's own SDKs, and a receiver of webhooks."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pusher

from broadcasting.applications import Application
from tests.conftest import ROOT, find_program
from tests.e2e import sdk_settings

_RAW = sdk_settings.APP
MASTER_KEY = _RAW["ENCRYPTION_MASTER_KEY_BASE64"]
APP = Application(
    id=_RAW["ID"],
    key=_RAW["KEY"],
    secret=_RAW["SECRET"],
    encryption_master_key=sdk_settings.MASTER_KEY,
)

SCRIPT = Path(__file__).parent / "node" / "sdk.js"
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


def node_sdk(*calls: tuple[Any, ...], port: int = 1) -> list[Any]:
    """Call methods of Pusher's SDK for Node in one process and return their outcomes."""
    if not (MODULES / "pusher").is_dir():
        raise AssertionError("Pusher's SDK for Node is not installed; `make test` installs it.")
    options = {
        "appId": APP.id,
        "key": APP.key,
        "secret": APP.secret,
        "useTLS": False,
        "host": "127.0.0.1",
        "port": port,
        "encryptionMasterKeyBase64": MASTER_KEY,
    }
    done = subprocess.run(
        [find_program("node", "nodejs"), str(SCRIPT)],
        input=json.dumps({"options": options, "calls": calls}),
        env={"NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
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

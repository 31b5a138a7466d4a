"""Pusher's own SDKs, and a site that they talk to."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pusher

from broadcasting.credentials import Application
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
    yield client
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

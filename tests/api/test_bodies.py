"""Bodies larger than any limit, sent to real servers."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from broadcasting.conf import get_settings
from broadcasting.protocol.signatures import request_text, sign, sign_request
from tests.conftest import RunningServer, RunServer

MB = 2**20
HUGE = 200 * MB
# Django keeps 2.5 MB of a body in memory and the rest in a file, before any view is asked.
GROWTH = 16 * MB


def signed(md5: str, path: str) -> str:
    """Return the address of a request by the demo's application, whose settings are the suite's."""
    app = get_settings().apps[0]
    query = {
        "auth_key": app.key,
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
        "body_md5": md5,
    }
    signature = sign(app.secret, request_text("POST", path, query))
    return f"{path}?{urlencode(query | {'auth_signature': signature})}"


def blocks(size: int) -> Iterator[bytes]:
    """Yield zeros."""
    for _ in range(size // MB):
        yield bytes(MB)


def peak(site: RunningServer) -> int:
    """Return the most bytes of memory that the server's process has ever held."""
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def send(connection: HTTPConnection, call: str, *, chunked: bool) -> tuple[int, str]:
    """Post 200 MB, rightly signed, and return what is answered."""
    md5 = hashlib.md5(usedforsecurity=False)
    for block in blocks(HUGE):
        md5.update(block)
    headers = {} if chunked else {"Content-Length": str(HUGE)}
    address = signed(md5.hexdigest(), f"/apps/1/{call}")
    connection.request("POST", address, blocks(HUGE), headers, encode_chunked=chunked)
    with connection.getresponse() as response:
        return response.status, response.read().decode()


def publish(connection: HTTPConnection, *, chunked: bool) -> int:
    """Post an event as SDKs do and return the status."""
    app = get_settings().apps[0]
    body = json.dumps({"name": "x", "data": "{}", "channel": "a"}).encode()
    query = sign_request(app, "POST", "/apps/1/events", body, int(time.time()))
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if not chunked:
        headers["Content-Length"] = str(len(body))
    address = f"/apps/1/events?{urlencode(query)}"
    connection.request("POST", address, iter([body]), headers, encode_chunked=chunked)
    with connection.getresponse() as response:
        response.read()
        return response.status


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_huge_body_is_refused_at_little_cost(runserver: RunServer, server: str) -> None:
    """413 with the limit, declared or chunked; on the same connection the next event passes."""
    site = runserver("memory", server=server)
    with closing(HTTPConnection("127.0.0.1", site.port, timeout=60)) as connection:
        for chunked in (False, True):
            assert publish(connection, chunked=chunked) == 200
        before = peak(site)
        for number, (call, chunked) in enumerate(
            [("events", False), ("events", True), ("batch_events", False), ("batch_events", True)]
        ):
            limit = 101_440 if call == "events" else 654_400
            assert send(connection, call, chunked=chunked) == (
                413,
                f"Payload too large: the body may have {limit} bytes",
            )
            assert publish(connection, chunked=chunked) == 200
            if server == "daphne" and number == 0:
                # It holds a whole body before its application runs, and then reuses the room.
                assert peak(site) < before + HUGE + 2 * GROWTH
                before = peak(site)
        assert peak(site) < before + GROWTH

"""Bodies larger than any limit, sent to real servers."""

import hashlib
import json
import re
import time
from collections.abc import Iterable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from broadcasting.conf import get_settings
from broadcasting.protocol.signatures import request_text, sign
from tests.conftest import RunningServer, RunServer

MB = 2**20
HUGE = [bytes(MB)] * 64
# Django keeps 2.5 MB of a body in memory and the rest in a file, before any view is called.
GROWTH = 16 * MB


def peak(site: RunningServer) -> int:
    """Return the most bytes of memory that the server's process has ever held."""
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def post(
    connection: HTTPConnection, call: str, blocks: Iterable[bytes], *, chunked: bool
) -> tuple[int, str]:
    """Post a signed body, and return the answer."""
    blocks, app = list(blocks), get_settings().apps[0]
    md5 = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        md5.update(block)
    path = f"/apps/1/{call}"
    query = {
        "auth_key": app.key,
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
        "body_md5": md5.hexdigest(),
    }
    query["auth_signature"] = sign(app.secret, request_text("POST", path, query))
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if not chunked:
        headers["Content-Length"] = str(sum(map(len, blocks)))
    address = f"{path}?{urlencode(query)}"
    connection.request("POST", address, iter(blocks), headers, encode_chunked=chunked)
    with connection.getresponse() as response:
        return response.status, response.read().decode()


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_huge_body_is_refused_at_little_cost(runserver: RunServer, server: str) -> None:
    """With its limit, declared or chunked. The connection can be used for the next event."""
    event = json.dumps({"name": "x", "data": "{}", "channel": "a"}).encode()
    site = runserver("memory", server=server)
    with closing(HTTPConnection("127.0.0.1", site.port, timeout=60)) as connection:
        for chunked in (False, True):
            assert post(connection, "events", [event], chunked=chunked) == (200, "{}")
        if server == "daphne":  # It holds a whole body, and then uses the memory again.
            post(connection, "events", HUGE, chunked=False)
        before = peak(site)
        for call, limit in (("events", 101_440), ("batch_events", 654_400)):
            for chunked in (False, True):
                status, reason = post(connection, call, HUGE, chunked=chunked)
                assert (status, f"{limit} bytes" in reason) == (413, True)
                assert post(connection, "events", [event], chunked=chunked) == (200, "{}")
        assert peak(site) < before + GROWTH

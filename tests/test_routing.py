"""When a process that imports the routes of sockets serves them."""

import asyncio
import os
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.serving.site import served_sites
from tests.test_apps import in_project
from tests.utils import decode, subscribe

# A request of each kind, told by whether the process serves afterwards.
REQUESTS = """
import asyncio
from io import BytesIO
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import AsyncClient, Client
import broadcasting.routing
from broadcasting.drivers.serving import is_serving_here
from broadcasting.server.hubs import find_hub, stop_hub
{setup}

class Subclass(ASGIHandler):
    pass

async def asgi(handler):
    site = ApplicationCommunicator(handler, dict(
        type="http", method="GET", path="/ready", headers=[(b"host", b"localhost")],
        query_string=b"", client=None, server=("localhost", 80), scheme="http",
    ))
    await site.send_input(dict(type="http.request"))
    print((await site.receive_output(30))["status"], is_serving_here(), find_hub() is not None)
    await site.receive_output(30)
    await site.wait()
    await stop_hub()

print(Client().get("/ready").status_code, is_serving_here())
WSGIHandler()(dict(
    REQUEST_METHOD="GET", PATH_INFO="/ready", SERVER_NAME="localhost", SERVER_PORT="80",
    **{{"wsgi.input": BytesIO()}},
), lambda status, headers: print(status[:3], is_serving_here()))
print(asyncio.run(AsyncClient().get("/ready")).status_code, is_serving_here())
asyncio.run(asgi(Subclass()))
print(is_serving_here())
"""
SETTINGS = {"ROOT_URLCONF": "broadcasting.urls", "ALLOWED_HOSTS": ["localhost", "testserver"]}


def test_the_first_request_over_asgi_starts_the_hub() -> None:
    """Neither importing the routes does, nor WSGI, nor a test client."""
    printed = in_project(REQUESTS.format(setup=""), **SETTINGS)
    assert printed == ["503", "False"] * 3 + ["200", "True", "True", "False"]


def test_a_hub_that_cannot_start_costs_no_request() -> None:
    """It is logged, and the first socket tries again."""
    setup = """
import broadcasting.routing
def fail():
    raise OSError("away")
broadcasting.routing.get_hub = fail
"""
    printed = in_project(REQUESTS.format(setup=setup), **SETTINGS)
    assert printed[-4:] == ["503", "False", "False", "False"]


async def test_a_worker_that_imports_the_asgi_module_reaches_the_server(tmp_path: Path) -> None:
    """Such as one of a task queue: what it fires is posted to the process that serves."""
    code = """
import django
django.setup()
import whik.asgi
from broadcasting import broadcast_to
broadcast_to("worker", "Done", {"by": "a worker"})
"""
    with served_sites(tmp_path) as start:
        site = start()
        client = await site.join()
        await client.send(subscribe("worker"))
        await client.recv()
        env = {"DJANGO_SETTINGS_MODULE": "tests.serving.settings"}
        env |= {"BROADCAST_CONNECTION": "memory", "BROADCAST_URL": f"http://127.0.0.1:{site.port}"}
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, cwd=ROOT, env=os.environ | env
        )
        assert await asyncio.wait_for(worker.wait(), 60) == 0
        message = decode(str(await asyncio.wait_for(client.recv(), 60)))
        await client.close()
    assert (message["event"], message["data"]) == ("Done", {"by": "a worker"})

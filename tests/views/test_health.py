"""Health checks: whether a process runs, and whether to send clients to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from django.test import AsyncClient, Client, override_settings

from broadcasting.drivers import serving
from broadcasting.exceptions import BroadcastError
from broadcasting.server.hubs import get_hub, stop_hub
from broadcasting.views import health
from broadcasting.views.health import live, ready, up
from tests.api.api_calls import TWO_APPS, ask
from tests.conftest import RedisServer
from tests.utils import await_until, free_port

pytestmark = pytest.mark.usefixtures("two_apps")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a bus a tenth of a second only."""
    monkeypatch.setattr(health, "BUS_TIMEOUT", 0.1)


@asynccontextmanager
async def serving_on(port: int) -> AsyncIterator[None]:
    """Serve sockets with Redis as the bus."""
    connection = {
        "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
        "URL": f"redis://127.0.0.1:{port}/0",
    }
    await stop_hub()
    with override_settings(
        BROADCASTING=TWO_APPS | {"DEFAULT": "redis", "CONNECTIONS": {"redis": connection}}
    ):
        get_hub()
        yield
        await stop_hub()


async def answers() -> list[tuple[int, dict[str, str]]]:
    """Return what the three checks are answered with."""
    found = [await ask(endpoint) for endpoint in (live, ready, up)]
    return [(answer.status, json.loads(answer.body)) for answer in found]


ALIVE = (200, {"status": "live"})


async def test_a_serving_process_is_ready() -> None:
    """Also before the first client."""
    assert await answers() == [ALIVE, (200, {"status": "ready"}), (200, {"health": "OK"})]


async def test_a_draining_process_is_not_ready() -> None:
    """It gets no clients, but is not killed before it has closed its sockets."""
    get_hub().is_draining = True
    assert await answers() == [
        ALIVE,
        (503, {"status": "unavailable", "reason": "Draining"}),
        (503, {"health": "Draining"}),
    ]


@pytest.mark.usefixtures("impatient")
async def test_a_process_without_its_bus_is_not_ready() -> None:
    """A restart of the process would not help."""
    async with serving_on(free_port()):
        alive, (status, body), _ = await answers()
        assert alive == ALIVE
        assert (status, body["reason"]) == (503, "The bus is away")


@pytest.mark.usefixtures("impatient")
async def test_readiness_follows_the_bus(redis_server: RedisServer) -> None:
    """Down and up again, without a client."""

    async def is_(expected: int) -> bool:
        return (await ask(ready)).status == expected

    async with serving_on(redis_server.port):
        await await_until(lambda: is_(200))
        redis_server.stop()
        await await_until(lambda: is_(503))
        redis_server.start()
        await await_until(lambda: is_(200), timeout=10)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("error", [BroadcastError("no"), OSError("no"), None])
async def test_a_bus_that_cannot_be_connected_is_no_server_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Nor is one that hangs."""

    async def fail() -> None:
        if error is not None:
            raise error
        await asyncio.Event().wait()

    monkeypatch.setattr(get_hub(), "start", fail)
    assert (await ask(ready)).status == 503


async def test_django_serves_health_checks() -> None:
    """Caches keep no answer, and no cookie is set. Only GET and HEAD are allowed."""
    for address in ("/live", "/ready", "/up"):
        response = await AsyncClient().get(address)
        assert (response.status_code, response["Content-Type"]) == (200, "application/json")
        assert response["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in response
        response = await AsyncClient().post(address)
        assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


def test_a_process_without_sockets_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under WSGI."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    assert Client().get("/live").status_code == 200
    response = Client().get("/ready")
    reason = "This process serves no sockets"
    assert (response.status_code, response.json()["reason"]) == (503, reason)

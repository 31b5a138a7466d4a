"""Health checks: whether a process lives, and whether to send it clients."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from django.test import AsyncClient, Client, override_settings

from broadcasting.drivers import base
from broadcasting.exceptions import BroadcastError
from broadcasting.server.hubs import get_hub, stop_hub
from broadcasting.views import health
from broadcasting.views.health import live, ready, up
from tests.api.api_calls import TWO_APPS, ask
from tests.conftest import RedisServer
from tests.utils import await_until, free_port

pytestmark = pytest.mark.usefixtures("two_apps")


@pytest_asyncio.fixture(autouse=True)
async def stopped() -> AsyncIterator[None]:
    """Stop the hub that a check has made."""
    yield
    await stop_hub()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a bus a tenth of a second only."""
    monkeypatch.setattr(health, "BUS_TIMEOUT", 0.1)


def on_redis(port: int) -> dict[str, object]:
    """Return settings whose sockets are served through Redis."""
    connection = {
        "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
        "URL": f"redis://127.0.0.1:{port}/0",
    }
    return TWO_APPS | {"DEFAULT": "redis", "CONNECTIONS": {"redis": connection}}


async def test_a_process_that_serves_is_ready() -> None:
    """Also where nobody has connected yet."""
    for answer, body in (
        (await ask(live), {"status": "live"}),
        (await ask(ready), {"status": "ready"}),
        (await ask(up), {"health": "OK"}),
    ):
        assert (answer.status, json.loads(answer.body)) == (200, body)


async def test_a_process_that_drains_lives_and_is_not_ready() -> None:
    """So it is sent no clients, and is not killed before it has said good-bye."""
    get_hub().is_draining = True
    assert (await ask(live)).status == 200
    answer = await ask(ready)
    assert (answer.status, json.loads(answer.body)["reason"]) == (503, "Draining")
    answer = await ask(up)
    assert (answer.status, json.loads(answer.body)) == (503, {"health": "Draining"})


@pytest.mark.usefixtures("impatient")
async def test_a_bus_that_is_away_is_told() -> None:
    """The process lives: to restart it would not help."""
    with override_settings(BROADCASTING=on_redis(free_port())):
        assert (await ask(live)).status == 200
        answer = await ask(ready)
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "The bus is away")
        await stop_hub()


@pytest.mark.usefixtures("impatient")
async def test_readiness_follows_the_bus(redis_server: RedisServer) -> None:
    """Down and up again, without a client."""

    async def status() -> int:
        return (await ask(ready)).status

    async def is_(expected: int) -> bool:
        return await status() == expected

    with override_settings(BROADCASTING=on_redis(redis_server.port)):
        await await_until(lambda: is_(200))
        redis_server.stop()
        await await_until(lambda: is_(503))
        redis_server.start()
        await await_until(lambda: is_(200), timeout=10)
        await stop_hub()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("error", [BroadcastError("no"), OSError("no")])
async def test_a_bus_that_cannot_be_connected_is_no_server_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Nor is one that hangs."""

    async def fail() -> None:
        raise error

    async def hang() -> None:
        await asyncio.Event().wait()

    for start in (fail, hang):
        monkeypatch.setattr(get_hub(), "start", start)
        assert (await ask(ready)).status == 503


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "", "get"])
async def test_only_questions_are_taken(method: str) -> None:
    """And the answer names them."""
    for check in (live, ready, up):
        answer = await ask(check, method)
        assert (answer.status, answer.allow) == (405, "GET, HEAD")
    assert (await ask(ready, "HEAD")).status == 200


# Behind Django


@pytest.mark.parametrize("address", ["/live", "/ready", "/up"])
async def test_django_answers_where_nothing_stands_before_it(address: str) -> None:
    """No cache may keep what was true a moment ago."""
    response = await AsyncClient().get(address)
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response


def test_a_process_without_sockets_is_alive_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under WSGI a load balancer for sockets must look elsewhere."""
    monkeypatch.setattr(base, "_serving", threading.Event())
    assert Client().get("/live").status_code == 200
    response = Client().get("/ready")
    assert (response.status_code, response.json()["reason"]) == (
        503,
        "This process serves no sockets",
    )

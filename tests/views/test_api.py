"""The HTTP API behind Django: under ASGI, and under WSGI with a bus that others share."""

import pytest
from django.test import AsyncClient, Client, override_settings
from redis import Redis

from broadcasting.drivers import serving
from broadcasting.protocol.messages import Message
from tests.api.api_calls import (
    PATH,
    TWO_APPS,
    batch_of,
    body_of,
    event_of,
    settle,
    signed,
)
from tests.conftest import RedisServer
from tests.utils import wait_until

USERS = "users/u-1/terminate_connections"

pytestmark = pytest.mark.usefixtures("two_apps")


async def test_django_serves_the_api(heard: list[Message]) -> None:
    """Without a CSRF token, and whatever Django's limit to bodies is."""
    body = body_of(data="x" * 5_000)
    client = AsyncClient(enforce_csrf_checks=True)
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1_000):
        response = await client.post(f"{PATH}?{signed(body)}", body, content_type="text/plain")
    assert (response.status_code, response.content) == (200, b"{}")
    assert response["Content-Type"] == "application/json"
    await settle(heard, 1)
    response = await client.get(PATH)
    assert (response.status_code, response["Allow"]) == (405, "POST")


def test_the_sdk_for_python_ends_connections_without_the_application() -> None:
    """Django finds the call at this address, too."""
    path = "/users/u@1/terminate_connections"
    response = Client().post(f"{path}?{signed(b'{}', path)}", b"{}", content_type="text/plain")
    assert (response.status_code, response.content) == (200, b"{}")


def test_a_process_without_sockets_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would receive the event. The reason says what to serve instead."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    body = body_of()
    response = Client().post(f"{PATH}?{signed(body)}", body, content_type="text/plain")
    assert response.status_code == 503
    assert "daphne first in INSTALLED_APPS" in response.content.decode()


def test_a_shared_bus_is_served_under_wsgi(
    monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    """Each call is answered, and no connection stays open."""
    monkeypatch.setattr(serving, "_loops", frozenset())
    redis_connection = {
        "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
        "URL": redis_server.url,
    }
    with_redis = TWO_APPS | {"DEFAULT": "redis", "CONNECTIONS": {"redis": redis_connection}}
    with_info = body_of(info="subscription_count")
    batch = batch_of(event_of(channel="cache-x", data="1"))
    with override_settings(BROADCASTING=with_redis), Redis.from_url(redis_server.url) as redis:
        before = len(redis.client_list())
        for method, call, body, expected in (
            ("POST", "events", with_info, '{"channels":{"a":{"subscription_count":0}}}'),
            ("POST", "batch_events", batch, "{}"),
            ("POST", USERS, b"{}", "{}"),
            ("GET", "channels", b"", '{"channels":{}}'),
            ("GET", "channels/cache-x", b"", '{"occupied":false}'),
            ("GET", "channels/presence-x/users", b"", '{"users":[]}'),
        ):
            path = f"/apps/42/{call}"
            address = f"{path}?{signed(body, path, method=method)}"
            response = Client().generic(method, address, body)
            assert (response.status_code, response.content.decode()) == (200, expected)
        path = "/apps/42/channels/cache-x"
        response = Client().get(f"{path}?{signed(b'', path, method='GET', info='cache')}")
        assert response.json()["cache"]["data"] == "1"
        wait_until(lambda: len(redis.client_list()) == before)

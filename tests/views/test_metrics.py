"""Metrics over HTTP: who may read them, and what stands there."""

import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django.test import AsyncClient, override_settings

from broadcasting.drivers import base
from broadcasting.server.hubs import stop_hub
from broadcasting.views.metrics import metrics
from tests.api.api_calls import TWO_APPS, ask, body_of, get, post

TOKEN = "a-long-token"
WITH_TOKEN: dict[str, Any] = TWO_APPS | {"SERVER": {"METRICS_TOKEN": TOKEN}}

pytestmark = pytest.mark.usefixtures("two_apps")


@pytest_asyncio.fixture(autouse=True)
async def stopped() -> AsyncIterator[None]:
    """Stop the hub that a question has made."""
    yield
    await stop_hub()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
async def test_a_caller_on_the_machine_is_let_in(address: str) -> None:
    """A Prometheus beside the server needs no token."""
    assert (await ask(metrics, "GET", address, {"host": "x"})).status == 200


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "2001:db8::1", "", "unix:", "x", None]
)
async def test_a_caller_from_elsewhere_is_not(address: str | None) -> None:
    """Nor one of whom nothing is known."""
    assert (await ask(metrics, "GET", address, {})).status == 403


@pytest.mark.parametrize(
    "header", ["x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip", "via"]
)
async def test_a_proxy_on_the_machine_speaks_for_others(header: str) -> None:
    """Whatever it says of them."""
    assert (await ask(metrics, "GET", "127.0.0.1", {header: "127.0.0.1"})).status == 403


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer  {TOKEN} ", 200),
        (f"Basic {TOKEN}", 403),
        ("Bearer a-long-toke", 403),
        ("Bearer ", 403),
        ("Bearer", 403),
        (TOKEN, 403),
        ("Bearer \udce9é", 403),
    ],
)
async def test_a_token_lets_in_from_anywhere(authorization: str, status: int) -> None:
    """Also through a proxy."""
    headers = {"x-forwarded-for": "8.8.8.8", "authorization": authorization}
    with override_settings(BROADCASTING=WITH_TOKEN):
        assert (await ask(metrics, "GET", "10.0.0.1", headers)).status == status


@pytest.mark.parametrize("given", ["Bearer None", "Bearer ", ""])
async def test_without_a_token_nobody_from_elsewhere_is_let_in(given: str) -> None:
    """No value stands for one that is not set."""
    assert (await ask(metrics, "GET", "10.0.0.1", {"authorization": given})).status == 403


async def test_calls_of_the_api_are_counted() -> None:
    """By their status; and what they publish, with the time that it took."""
    await post(body_of())
    await post(b"{")
    await get("channels")
    text = (await ask(metrics, "GET", "127.0.0.1", {})).body
    assert 'broadcasting_api_requests_total{status="200",worker="1"} 2.0' in text
    assert 'broadcasting_api_requests_total{status="400",worker="1"} 1.0' in text
    assert 'broadcasting_messages_published_total{source="api",worker="1"} 1.0' in text
    assert 'broadcasting_publish_seconds_count{worker="1"} 1.0' in text
    assert 'broadcasting_outbox_pending{worker="1"} 0.0' in text


async def test_another_method_is_405() -> None:
    """To anybody."""
    answer = await ask(metrics, "POST", "10.0.0.1", {})
    assert (answer.status, answer.allow) == (405, "GET, HEAD")


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what installs it."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "broadcasting.server.metrics.prometheus", raising=False)
    answer = await ask(metrics, "GET", "127.0.0.1", {})
    assert answer.status == 501
    assert 'pip install "whik[metrics]"' in answer.body


async def test_a_process_without_sockets_has_nothing_to_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under WSGI."""
    monkeypatch.setattr(base, "_serving", threading.Event())
    assert (await ask(metrics, "GET", "127.0.0.1", {})).status == 503


async def test_django_answers_where_nothing_stands_before_it() -> None:
    """In the type that Prometheus asks for."""
    response = await AsyncClient().get("/metrics")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"broadcasting_bus_up" in response.content
    forwarded = await AsyncClient().get("/metrics", headers={"X-Forwarded-For": "8.8.8.8"})
    assert forwarded.status_code == 403

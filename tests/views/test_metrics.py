"""Metrics over HTTP: who may read them, and what they contain."""

import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django.test import AsyncClient, override_settings

from broadcasting.server.hubs import stop_hub
from broadcasting.views.metrics import metrics
from tests.api.api_calls import TWO_APPS, ask, body_of, get, post

TOKEN = "a-long-token"
WITH_TOKEN: dict[str, Any] = TWO_APPS | {"SERVER": {"METRICS_TOKEN": TOKEN}}

pytestmark = pytest.mark.usefixtures("two_apps")


@pytest_asyncio.fixture(autouse=True)
async def stopped() -> AsyncIterator[None]:
    """Stop the hub that a request has made."""
    yield
    await stop_hub()


async def status(address: str | None, **headers: str) -> int:
    """Return the status for a caller at an address."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await ask(metrics, "GET", address, named)).status


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
async def test_a_caller_on_the_machine_needs_no_token(address: str) -> None:
    """Unless a proxy speaks for another one."""
    assert await status(address, host="x") == 200
    for header in ("x_forwarded_for", "x_forwarded_host", "forwarded", "x_real_ip", "via"):
        assert await status(address, **{header: "127.0.0.1"}) == 403


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "2001:db8::1", "", "unix:", "x", None]
)
async def test_another_caller_needs_a_token(address: str | None) -> None:
    """If the settings have none, no value is accepted."""
    for given in ("", "Bearer ", "Bearer None"):
        assert await status(address, authorization=given) == 403
    with override_settings(BROADCASTING=WITH_TOKEN):
        assert await status(address) == 403


@pytest.mark.parametrize(
    ("authorization", "expected"),
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
async def test_a_token_is_accepted_from_anywhere(authorization: str, expected: int) -> None:
    """Also through a proxy."""
    with override_settings(BROADCASTING=WITH_TOKEN):
        given = {"authorization": authorization, "x_forwarded_for": "8.8.8.8"}
        assert await status("10.0.0.1", **given) == expected


async def test_calls_of_the_api_are_counted() -> None:
    """By status; and what they publish, with the time that it took."""
    await post(body_of())
    await post(b"{")
    await get("channels")
    text = (await ask(metrics, "GET", "127.0.0.1")).body
    assert 'broadcasting_api_requests_total{status="200",worker="1"} 2.0' in text
    assert 'broadcasting_api_requests_total{status="400",worker="1"} 1.0' in text
    assert 'broadcasting_messages_published_total{source="api",worker="1"} 1.0' in text
    assert 'broadcasting_publish_seconds_count{worker="1"} 1.0' in text
    assert 'broadcasting_outbox_pending{worker="1"} 0.0' in text


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "broadcasting.server.metrics.prometheus", raising=False)
    answer = await ask(metrics, "GET", "127.0.0.1")
    assert (answer.status, 'pip install "whik[metrics]"' in answer.body) == (501, True)


async def test_a_process_without_sockets_has_no_metrics() -> None:
    """As under WSGI."""
    await stop_hub()
    assert await status("127.0.0.1") == 503


async def test_django_serves_metrics() -> None:
    """In the format of Prometheus."""
    response = await AsyncClient().get("/metrics")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"broadcasting_bus_up" in response.content
    forwarded = await AsyncClient().get("/metrics", headers={"X-Forwarded-For": "8.8.8.8"})
    assert forwarded.status_code == 403
    assert (await AsyncClient().post("/metrics")).status_code == 405

"""A request that is made twice: accepted, unless the application has a ``REPLAY_CACHE``."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings

from broadcasting.drivers.memory import MemoryBroker
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.messages import Message
from tests.api.api_calls import PATH, body_of, handle, one_app, post, settle, signed

LOCAL = "django.core.cache.backends.locmem.LocMemCache"
CACHES: dict[str, Any] = {
    "default": {"BACKEND": LOCAL},
    "api": {"BACKEND": LOCAL, "LOCATION": "api"},
}
pytestmark = pytest.mark.usefixtures("two_apps")


@pytest.fixture
def guarded(two_apps: None) -> Iterator[None]:
    """Give application 42 a replay cache."""
    with override_settings(CACHES=CACHES, BROADCASTING=one_app(REPLAY_CACHE="api")):
        caches["api"].clear()
        yield
        caches["api"].clear()


async def test_without_a_cache_both_requests_count(heard: list[Message]) -> None:
    """Two equal events of one second have one signature."""
    body = body_of()
    query = signed(body)
    for _ in range(2):
        assert (await handle("POST", PATH, query, body)).status == 200
    await settle(heard, 2)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize(
    ("method", "path", "body"), [("POST", PATH, body_of()), ("GET", "/apps/42/channels", b"")]
)
async def test_a_request_counts_once(method: str, path: str, body: bytes) -> None:
    """A request of another second is another one."""
    now = int(time.time())
    for at in (now, now - 1):
        query = signed(body, path, method=method, at=at)
        assert (await handle(method, path, query, body)).status == 200
        answer = await handle(method, path, query, body)
        assert (answer.status, answer.body) == (401, "This request was made before")


@pytest.mark.usefixtures("guarded")
async def test_another_spelling_is_the_same_request() -> None:
    """One signature is right for several spellings of a path and a query."""
    body = body_of()
    query = signed(body)
    assert (await handle("POST", PATH, query, body)).status == 200
    for path, other in (
        ("/apps/4%32/events", query),
        (f"/push{PATH}", query),
        (PATH, "&".join(reversed(query.split("&")))),
        (PATH, query.replace("auth_signature", "Auth_Signature")),
    ):
        answer = await handle("POST", path, other, body)
        assert (answer.status, answer.body) == (401, "This request was made before")


@pytest.mark.usefixtures("guarded")
async def test_a_refused_request_may_be_made_again(
    monkeypatch: pytest.MonkeyPatch, heard: list[Message]
) -> None:
    """Unless it was published in part: the rest would be published twice."""
    refused, publish = {"a", "b"}, MemoryBroker.publish

    async def publish_some(self: MemoryBroker, message: Message) -> None:
        if message.channel in refused:
            raise BroadcastError("No permission")
        await publish(self, message)

    monkeypatch.setattr(MemoryBroker, "publish", publish_some)
    body = body_of(channels=["a", "b"])
    query = signed(body)
    assert (await handle("POST", PATH, query, body + b" ")).status == 401
    assert [(await handle("POST", PATH, query, body)).status for _ in range(2)] == [503, 503]
    refused.remove("a")
    assert [(await handle("POST", PATH, query, body)).status for _ in range(2)] == [503, 401]
    await settle(heard, 1)
    bad = body_of(name="")
    query = signed(bad)
    assert [(await handle("POST", PATH, query, bad)).status for _ in range(2)] == [400, 400]


@pytest.mark.usefixtures("guarded")
async def test_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a signature can be fresh, under a key that does not reveal it."""
    added: list[tuple[str, object, float]] = []

    async def note(self: LocMemCache, key: str, value: object, timeout: float) -> bool:
        added.append((key, value, timeout))
        return True

    monkeypatch.setattr(LocMemCache, "aadd", note)
    body = body_of()
    query = signed(body)
    await handle("POST", PATH, query, body)
    [(key, value, timeout)] = added
    assert (value, timeout) == (1, 1200)
    assert query.partition("auth_signature=")[2] not in key
    assert key.isascii()
    assert len(key) < 200


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize(("method", "status"), [("aadd", 503), ("adelete", 400)])
async def test_a_cache_that_fails_accepts_nobody(
    method: str, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason goes to the log."""

    async def fail(*args: object) -> None:
        raise ConnectionError("cache is away")

    monkeypatch.setattr(LocMemCache, method, fail)
    answer = await post(body_of(name=""))
    assert (answer.status, "cache is away" in answer.body) == (status, False)
    assert "REPLAY_CACHE" in caplog.text

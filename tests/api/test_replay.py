"""A request that is made twice: taken, unless the application asks otherwise."""

import time
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings

from broadcasting.drivers.memory import MemoryBroker
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.messages import Message
from tests.api.api_calls import PATH, body_of, get, handle, one_app, post, settle, signed

LOCAL = "django.core.cache.backends.locmem.LocMemCache"
GUARDED: dict[str, Any] = {
    "CACHES": {"default": {"BACKEND": LOCAL}, "api": {"BACKEND": LOCAL, "LOCATION": "api"}},
}
pytestmark = pytest.mark.usefixtures("two_apps")


@pytest.fixture
def _guarded(two_apps: None) -> Any:
    """Let application 42 remember its requests."""
    with override_settings(**GUARDED), override_settings(BROADCASTING=one_app(REPLAY_CACHE="api")):
        caches["api"].clear()
        yield
        caches["api"].clear()


async def test_two_equal_events_of_one_second_both_arrive(heard: list[Message]) -> None:
    """They carry one signature, so that telling them from a replay is left to who asks for it."""
    body = body_of()
    query = signed(body)
    for _ in range(2):
        assert (await handle("POST", PATH, query, body)).status == 200
    await settle(heard, 2)


@pytest.mark.usefixtures("_guarded")
async def test_a_request_counts_once() -> None:
    """Where the application has a cache for it; a request of another second is another one."""
    body, now = body_of(), int(time.time())
    for at, status in ((now, 200), (now, 401), (now - 1, 200), (now - 1, 401)):
        answer = await handle("POST", PATH, signed(body, at=at), body)
        assert answer.status == status
        if status == 401:
            assert answer.body == "This request was made before"


@pytest.mark.usefixtures("_guarded")
async def test_a_question_counts_once_too() -> None:
    """Its answer is not for who has overheard it."""
    assert (await get("channels")).status == 200
    path = "/apps/42/channels"
    query = signed(b"", path, method="GET", at=int(time.time()) - 5)
    assert [(await handle("GET", path, query, b"")).status for _ in range(2)] == [200, 401]


@pytest.mark.usefixtures("_guarded")
async def test_a_request_in_other_letters_is_the_same() -> None:
    """One signature fits several spellings of a path and a query."""
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


@pytest.mark.usefixtures("_guarded")
async def test_a_refused_request_may_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature that came to nothing is not used up: by strangers, mistakes or a lost bus."""
    body = body_of()
    query = signed(body)
    assert (await handle("POST", PATH, query, body + b" ")).status == 401

    async def refuse(self: MemoryBroker, message: Message) -> None:
        raise BroadcastError("Redis is away")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryBroker, "publish", refuse)
        assert (await handle("POST", PATH, query, body)).status == 503
    assert (await handle("POST", PATH, query, body)).status == 200
    assert (await handle("POST", PATH, query, body)).status == 401
    bad = body_of(name="")
    query = signed(bad)
    assert [(await handle("POST", PATH, query, bad)).status for _ in range(2)] == [400, 400]


@pytest.mark.usefixtures("_guarded")
async def test_a_request_that_was_served_in_part_counts(
    monkeypatch: pytest.MonkeyPatch, heard: list[Message]
) -> None:
    """Made again as it is, it would publish the rest twice."""
    publish = MemoryBroker.publish

    async def refuse_b(self: MemoryBroker, message: Message) -> None:
        if message.channel == "b":
            raise BroadcastError("No permission")
        await publish(self, message)

    monkeypatch.setattr(MemoryBroker, "publish", refuse_b)
    body = body_of(channels=["a", "b"])
    query = signed(body)
    assert [(await handle("POST", PATH, query, body)).status for _ in range(2)] == [503, 401]
    await settle(heard, 1)


@pytest.mark.usefixtures("_guarded")
async def test_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as a signature can count, under a key that does not tell it."""
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


@pytest.mark.usefixtures("_guarded")
@pytest.mark.parametrize("method", ["aadd", "adelete"])
async def test_a_cache_that_fails_admits_nobody_and_breaks_nothing(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503, and the log has the reason."""

    async def fail(*args: object) -> None:
        raise ConnectionError("cache is away")

    monkeypatch.setattr(LocMemCache, method, fail)
    answer = await post(body_of(name="" if method == "adelete" else "x"))
    assert answer.status == (503 if method == "aadd" else 400)
    assert "cache is away" not in answer.body
    assert "REPLAY_CACHE" in caplog.text

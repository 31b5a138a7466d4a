"""Which webhooks an event is posted to, and as what bytes."""

import asyncio
import json
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.applications import Application
from broadcasting.protocol.signatures import sign
from broadcasting.server.webhooks.routes import Webhooks
from broadcasting.server.webhooks.sender import Sender
from tests.server.webhooks.conftest import (
    KEY,
    NOW,
    SECRET,
    Site,
    app_with,
    local,
    occupied,
    sent,
    threads,
)
from tests.server.webhooks.receiver import Receiver
from tests.utils import FakeClock, await_until


async def test_the_body_is_the_one_of_the_protocol_document(site: Site, receiver: Receiver) -> None:
    """Vector 11: compact JSON in raw UTF-8, signed by the application's first secret."""
    webhooks, _ = site.endpoint(receiver.url)
    webhooks.add("1", {"name": "member_added", "channel": "presence-x", "user_id": "é"})
    await sent(webhooks, 1)
    body = (
        '{"time_ms":1700000000123,"events":'
        '[{"name":"member_added","channel":"presence-x","user_id":"é"}]}'
    )
    assert receiver.posts == [("/hook", body.encode())]
    expected = {
        "Content-Type": "application/json",
        "X-Pusher-Key": KEY,
        "X-Pusher-Signature": "6e195af7dcecdb73e3c50b76e6c0b9778b8fc67935049f5c8ae9b75262414ba3",
        "Host": f"127.0.0.1:{receiver.port}",
    }
    assert expected.items() <= receiver.headers[0].items()


@given(
    st.lists(
        st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.none()),
        min_size=1,
        max_size=8,
    )
)
def test_a_body_is_signed_as_it_is_sent(extras: list[dict[str, object]]) -> None:
    events: list[dict[str, object]] = [{**extra, **occupied("room")} for extra in extras]
    bodies: list[tuple[bytes, dict[str, str]]] = []

    async def post(_: object, body: bytes, headers: dict[str, str]) -> None:
        bodies.append((body, headers))

    async def run() -> None:
        webhooks = Webhooks([app_with(local("http://a.test"))], clock=FakeClock(NOW))
        for event in events:
            webhooks.add("1", event)
        await webhooks.close(5)

    with mock.patch.object(Sender, "post", post):
        asyncio.run(run())
    ((body, headers),) = bodies
    assert json.loads(body) == {"time_ms": 1_700_000_000_123, "events": events}
    assert headers["X-Pusher-Signature"] == sign(SECRET, body.decode())


async def test_what_utf8_cannot_carry_is_escaped(site: Site, receiver: Receiver) -> None:
    webhooks, _ = site.endpoint(receiver.url)
    webhooks.add("1", occupied("a", data="\ud800é"))
    await sent(webhooks, 1)
    assert b'"data":"\\ud800\\u00e9"' in receiver.posts[0][1]


async def test_what_is_no_json_is_dropped(
    site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and logged, not raised to the hub; what comes after it is sent."""
    webhooks, endpoint = site.endpoint(receiver.url)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    values = [float("nan"), {1, 2}, object(), deep]
    for value in values:
        webhooks.add("1", occupied("a", data=value))
    webhooks.add("1", occupied("b"))
    await sent(webhooks, 1)
    assert receiver.events == [["b"]]
    assert endpoint.dropped == len(values)
    assert "channel_occupied of a cannot be JSON" in caplog.text


class TestSelection:
    async def test_by_event(self, site: Site, receiver: Receiver) -> None:
        events = ("channel_occupied", "cache_miss", "channel_occupied")
        webhooks = site.webhooks(local(receiver.url, events=events))
        webhooks.add("1", {"name": "channel_vacated", "channel": "a"})
        webhooks.add("1", occupied("b"))
        webhooks.add("1", {"name": "cache_miss", "channel": "c"})
        await sent(webhooks, 2)
        assert receiver.events == [["b", "c"]]
        assert webhooks.wants("1", "channel_occupied", "a")
        assert not webhooks.wants("1", "channel_vacated", "a")

    async def test_by_channel_and_application(self, site: Site, receiver: Receiver) -> None:
        """Prefix and suffix must both fit; channels of users and of the server never do."""
        webhooks = site.webhooks(
            local(receiver.url, channel_prefix="presence-", channel_suffix="-eu"),
            local(receiver.url),
        )
        filtered, every = webhooks.endpoints
        fits = {"presence-a-eu": True, "presence-a": False, "a-eu": False, "presence-eu": True}
        for name, expected in fits.items():
            before = filtered.waiting
            webhooks.add("1", occupied(name))
            assert (filtered.waiting > before) is expected
        for name in ("#server-to-user-7", "#control"):
            assert not webhooks.wants("1", "channel_occupied", name)
            webhooks.add("1", occupied(name))
        assert not webhooks.wants("2", "channel_occupied", "a")
        webhooks.add("2", occupied("a"))
        assert every.waiting == len(fits)

    async def test_a_burst_of_misses_is_posted_once(self, site: Site, receiver: Receiver) -> None:
        """The same channel once per second; another application's is another."""
        other = Application(id="2", key="k", secret="s", webhooks=(local(receiver.url),))
        webhooks = Webhooks(
            [app_with(local(receiver.url)), other], clock=site.clock, sleep=site.sleep
        )
        site.made.append(webhooks)
        first, second = webhooks.endpoints
        steps: list[tuple[float, str, str, int]] = [
            (0, "1", "a", 1),
            (0, "1", "b", 2),
            (0, "1", "a", 2),
            (0, "2", "a", 2),
        ]
        steps += [(0.9, "1", "a", 2), (0.1, "1", "a", 3), (2, "1", "z", 4)]
        for pause, app_id, name, waiting in steps:
            site.clock.advance(pause)
            webhooks.add(app_id, {"name": "cache_miss", "channel": name})
            assert first.waiting == waiting
        assert second.waiting == 1


async def test_nothing_runs_before_something_happens(site: Site, receiver: Receiver) -> None:
    webhooks, _ = site.endpoint(receiver.url)
    assert not threads()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    webhooks.add("1", occupied("a"))
    await sent(webhooks, 1)
    await await_until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    await await_until(lambda: not threads())

"""One webhook: the order of its requests, when they are repeated, and when no more."""

import asyncio
import json
import logging

import pytest

from broadcasting.server.webhooks import queue
from broadcasting.server.webhooks.routes import Webhooks
from tests.server.webhooks.conftest import NOW, Site, app_with, local, occupied, sent, threads
from tests.server.webhooks.receiver import Receiver
from tests.utils import await_until, wait_until


class TestOrder:
    async def test_one_request_at_a_time(self, site: Site, receiver: Receiver) -> None:
        receiver.gate.clear()
        webhooks, _ = site.endpoint(receiver.url)
        webhooks.add("1", occupied("a"))
        await await_until(lambda: receiver.posts)
        for name in "bcd":
            webhooks.add("1", occupied(name))
        receiver.gate.set()
        await sent(webhooks, 4)
        assert receiver.events == [["a"], ["b", "c", "d"]]
        assert receiver.most_at_once == 1

    async def test_a_slow_endpoint_delays_no_other(self, site: Site, receiver: Receiver) -> None:
        fast = Receiver()
        receiver.gate.clear()
        try:
            webhooks = site.webhooks(local(fast.url), local(receiver.url))
            for name in "abc":
                webhooks.add("1", occupied(name))
                await await_until(lambda: webhooks.endpoints[0].waiting == 0)
            assert [name for channels in fast.events for name in channels] == ["a", "b", "c"]
            assert webhooks.endpoints[1].sent == 0
            await await_until(lambda: len(threads()) == 1)
        finally:
            receiver.gate.set()
            fast.stop()


class TestRetries:
    async def test_the_same_bytes_come_again(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whenever they are sent, their time is that of the event; a new reason is logged."""
        caplog.set_level(logging.INFO, "broadcasting.webhooks")
        receiver.answers = [500, 503, 503]
        webhooks, endpoint = site.endpoint(receiver.url)
        webhooks.add("1", occupied("a"))
        await sent(webhooks, 1)
        assert len(receiver.posts) == 4
        assert len(set(receiver.posts)) == 1
        assert len({headers["X-Pusher-Signature"] for headers in receiver.headers}) == 1
        assert (endpoint.failed, endpoint.dropped, endpoint.waiting) == (3, 0, 0)
        first, second, third = [record.message for record in caplog.records]
        assert ("answered 500" in first, "answered 503" in second) == (True, True)
        assert third == f"The webhook {receiver.url} works again"

    async def test_newer_events_stay_behind_older_ones(
        self, site: Site, receiver: Receiver
    ) -> None:
        receiver.answers = [500]
        receiver.gate.clear()
        webhooks, _ = site.endpoint(receiver.url)
        webhooks.add("1", occupied("a"))
        await await_until(lambda: receiver.posts)
        webhooks.add("1", occupied("b"))
        receiver.gate.set()
        await sent(webhooks, 2)
        assert receiver.events == [["a"], ["a"], ["b"]]

    async def test_delays_grow_to_a_minute_and_differ(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver.answers = [500] * 50
        webhooks, endpoint = site.endpoint(receiver.url)
        webhooks.add("1", occupied("a"))
        webhooks.add("1", occupied("b"))
        await await_until(lambda: endpoint.dropped, 30)
        assert (endpoint.sent, endpoint.dropped, endpoint.waiting) == (0, 2, 0)
        longest = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0] + [60.0] * 10
        shares = {taken / most for taken, most in zip(site.pauses, longest, strict=False)}
        assert all(0.5 <= share <= 1 for share in shares)
        assert len(shares) > 3
        assert 240 - 60 <= site.clock.now - NOW <= 300
        assert endpoint.failed == len(receiver.posts) == len(site.pauses) + 1
        fails, drops = [record.message for record in caplog.records]
        assert "answered 500" in fails
        assert f"Dropped 2 events for the webhook {receiver.url}" in drops

    async def test_each_event_has_five_minutes_of_its_own(
        self, site: Site, receiver: Receiver
    ) -> None:
        ages = iter([200.0, 150.0])

        async def sleep(seconds: float) -> None:
            if (age := next(ages, None)) is None:
                return
            site.clock.advance(age)
            webhooks.add("1", occupied("young"))

        receiver.answers = [500] * 2
        webhooks, endpoint = site.endpoint(receiver.url, sleep=sleep)
        webhooks.add("1", occupied("old"))
        await sent(webhooks, 2)
        assert endpoint.dropped == 1
        assert receiver.events == [["old"], ["old"], ["young", "young"]]
        assert json.loads(receiver.posts[-1][1])["time_ms"] == 1_700_000_200_123

    async def test_over_its_limit_the_newest_are_dropped(
        self,
        site: Site,
        receiver: Receiver,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(queue, "MAX_WAITING", 4)
        receiver.gate.clear()
        webhooks, endpoint = site.endpoint(receiver.url)
        for n in range(10):
            webhooks.add("1", occupied(f"c{n}"))
        assert (endpoint.waiting, endpoint.dropped) == (4, 6)
        receiver.gate.set()
        await sent(webhooks, 4)
        assert receiver.events == [["c0", "c1", "c2", "c3"]]
        assert len(caplog.records) == 1
        assert "4 events wait for the webhook" in caplog.text
        for n in range(5):
            webhooks.add("1", occupied(f"d{n}"))
        assert (endpoint.waiting, endpoint.dropped) == (4, 7)
        assert len(caplog.records) == 2


class TestClosing:
    async def test_what_waits_is_posted(self, site: Site, receiver: Receiver) -> None:
        """To the last event; then threads, tasks and connections are gone, and nothing is taken."""
        webhooks, endpoint = site.endpoint(receiver.url)
        for n in range(150):
            webhooks.add("1", occupied(f"c{n}"))
        await webhooks.close(30)
        await webhooks.close(30)
        assert (endpoint.sent, endpoint.dropped) == (150, 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await await_until(lambda: not threads() and not receiver.open)
        assert not webhooks.wants("1", "channel_occupied", "a")
        webhooks.add("1", occupied("a"))
        assert (endpoint.waiting, endpoint.dropped) == (0, 1)

    async def test_pauses_are_cut_short(self, site: Site, receiver: Receiver) -> None:
        """The one under way, and those to come: there is no time for long ones."""
        receiver.answers = [500] * 7
        site.held_at = 5
        webhooks, endpoint = site.endpoint(receiver.url)
        webhooks.add("1", occupied("a"))
        await await_until(lambda: len(site.pauses) == 5, 30)
        await webhooks.close(30)
        assert (endpoint.sent, endpoint.dropped) == (1, 0)
        assert site.pauses[4] >= 8
        assert all(pause <= most for pause, most in zip(site.pauses[5:], (1, 2), strict=True))

    async def test_after_its_time_the_rest_is_dropped(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver.gate.clear()
        webhooks, endpoint = site.endpoint(receiver.url, timeout=60, total=60)
        webhooks.add("1", occupied("a"))
        await await_until(lambda: receiver.posts)
        webhooks.add("1", occupied("b"))
        await webhooks.close(0.01)
        assert (endpoint.sent, endpoint.dropped) == (0, 2)
        assert "Dropped 2 events" in caplog.text
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await await_until(lambda: not threads(), 30, "the thread ends while the receiver hangs")

    def test_a_loop_that_ends_takes_everything_with_it(self, receiver: Receiver) -> None:
        receiver.gate.clear()
        webhooks = Webhooks([app_with(local(receiver.url))], timeout=60, total=60)

        async def run() -> None:
            webhooks.add("1", occupied("a"))
            await await_until(lambda: receiver.posts)

        asyncio.run(run())
        wait_until(lambda: not threads(), 30, "the thread ends while the receiver hangs")

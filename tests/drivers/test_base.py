"""The contracts' own code: the defaults of a driver."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Unpack

import pytest

from broadcasting.applications import Application
from broadcasting.drivers.base import Broadcaster, Options
from broadcasting.exceptions import BroadcastError

APP = Application(id="1", key="key", secret="secret")


class Writer(Broadcaster):
    """Only writes."""

    def __init__(self) -> None:
        super().__init__(app=APP, first_app_id="1")
        self.sent: list[tuple[object, ...]] = []
        self.threads: list[threading.Thread] = []
        self.error: Exception | None = None

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        """Note the call and its thread."""
        self.sent.append((channels, event, data, options))
        self.threads.append(threading.current_thread())
        if self.error is not None:
            raise self.error


class TestBroadcaster:
    async def test_abroadcast_does_not_hold_the_loop(self) -> None:
        """By default it is `broadcast` in another thread, with the same arguments."""
        writer = Writer()
        options = Options(socket_id="1.1", message_id="id", is_transient=True)
        await writer.abroadcast(["x"], "e", "{}", **options)
        assert writer.sent == [(["x"], "e", "{}", options)]
        assert threading.current_thread() not in writer.threads

    async def test_abroadcasts_do_not_wait_for_each_other(self) -> None:
        """One slow bus call does not keep others of the loop from theirs."""
        meeting = threading.Barrier(2)

        class Meeting(Writer):
            def broadcast(
                self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
            ) -> None:
                meeting.wait(60)  # Raises unless both are under way together.

        writer = Meeting()
        calls = (writer.abroadcast(["x"], "e", "{}") for _ in range(2))
        assert await asyncio.gather(*calls) == [None, None]

    async def test_abroadcast_raises_what_broadcast_raises(self) -> None:
        """The caller decides what a failure means."""
        writer = Writer()
        writer.error = BroadcastError("away")
        with pytest.raises(BroadcastError, match="away"):
            await writer.abroadcast(["x"], "e", "{}")

    def test_a_driver_without_a_read_end_says_so(self) -> None:
        """`can_be_read` before, an exception if asked for all the same."""
        writer = Writer()
        assert not writer.can_be_read
        with pytest.raises(NotImplementedError, match="Writer has no read end"):
            writer.get_broker()

    def test_a_driver_need_not_say_more(self) -> None:
        """Nothing to check, nowhere to post to, nothing to close."""
        writer = Writer()
        assert writer.check() == []
        assert writer.posts_to is None
        writer.close()

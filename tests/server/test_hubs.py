"""The hub of each loop, and the sessions of clients that connect."""

import asyncio
import threading
from collections.abc import AsyncIterator
from unittest import mock

import pytest
import pytest_asyncio

from broadcasting.conf import get_settings
from broadcasting.drivers.serving import is_serving_here
from broadcasting.server import hubs
from broadcasting.server.hub import Hub
from broadcasting.server.hubs import find_hub, get_hub, open_session, stop_hub
from tests.server.fakes import FakeSocket, message, settle
from tests.utils import subscribe


@pytest_asyncio.fixture(autouse=True)
async def _stopped() -> AsyncIterator[None]:
    yield
    await stop_hub()


async def test_a_loop_has_one_hub() -> None:
    assert find_hub() is None
    hub = get_hub()
    assert get_hub() is find_hub() is hub
    assert not is_serving_here()
    await hub.start()
    assert is_serving_here()
    await stop_hub()
    await stop_hub()
    assert not is_serving_here()
    assert find_hub() is None
    assert get_hub() is not hub


async def test_loops_do_not_share() -> None:
    async def other() -> Hub:
        return get_hub()

    hub = get_hub()
    assert await asyncio.to_thread(lambda: asyncio.run(other())) is not hub
    assert get_hub() is hub


def test_loops_of_many_threads_may_ask_at_once() -> None:
    errors: list[BaseException] = []

    async def ask() -> None:
        get_hub()

    def run() -> None:
        try:
            for _ in range(20):
                asyncio.run(ask())
        except BaseException as exc:
            errors.append(exc)

    class SlowDict(dict[asyncio.AbstractEventLoop, Hub]):
        """Lets another thread run in the midst of each look at all loops."""

        def __iter__(self):  # type: ignore[no-untyped-def]
            for loop in super().__iter__():
                threading.Event().wait(0.0001)
                yield loop

    with mock.patch.object(hubs, "_hubs", SlowDict()):
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


class TestOpenSession:
    @pytest.mark.parametrize(
        ("key", "version", "origin", "code"),
        [
            ("no-such-key", "7", None, 4001),
            ("", None, None, 4001),
            (None, "x", None, 4006),
            (None, "3", None, 4007),
            (None, "7", "http://evil.example", 4009),
            (None, "7", "null", 4009),
            (None, "7", None, None),
            (None, "7", "http://testserver", None),
            (None, "7", "https://localhost:8443", None),
        ],
    )
    async def test_the_sites_own_pages_and_other_programs_are_welcome(
        self, key: str | None, version: str | None, origin: str | None, code: int | None
    ) -> None:
        socket = FakeSocket()
        open_session(key if key is not None else own_key(), version, origin, socket)
        assert socket.close_code == code
        assert get_hub().session_count == (code is None)

    async def test_socket_ids_are_new_and_well_formed(self) -> None:
        ids = [open_session(own_key(), "7", None, FakeSocket()).socket_id for _ in range(100)]
        assert len(set(ids)) == 100
        for socket_id in ids:
            first, second = socket_id.split(".")
            assert (first.isdecimal(), second.isdecimal()) == (True, True)

    async def test_messages_arrive_through_the_configured_bus(self) -> None:
        socket = FakeSocket()
        session = open_session(own_key(), "7", None, socket)
        session.receive(subscribe("x"))
        await settle()
        await get_hub().broker.publish(message("x", "1"))
        await settle()
        assert socket.decoded[-1] == {"event": "e", "channel": "x", "data": "1"}
        await stop_hub()
        assert socket.close_code == 4200


def own_key() -> str:
    return get_settings().apps[0].key

"""What a traced server tells on its terminal."""

import logging
import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from django.test import override_settings

from broadcasting.conf import get_settings
from broadcasting.protocol.messages import Message
from broadcasting.server import hubs as server
from broadcasting.server import tracing
from broadcasting.server.hub import Hub
from broadcasting.server.hubs import get_hub, open_session, stop_hub
from broadcasting.server.session import Session
from broadcasting.server.tracing import MAX_SHOWN, shown
from tests.server.fakes import FakeSocket, settle
from tests.utils import ping, subscribe


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    monkeypatch.setattr(server, "_hub_class", Hub)
    monkeypatch.setattr(server, "_session_class", Session)
    told: list[str] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(re.sub(r"[0-9]+\.[0-9]+", "ID", record.getMessage()))

    handler = Told()
    monkeypatch.setattr(tracing.logger, "handlers", [handler])
    server.trace()
    yield told
    tracing.logger.propagate = True
    tracing.logger.setLevel(logging.NOTSET)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[None]:
    with override_settings(BROADCASTING={"DEFAULT": "memory"}):
        yield
        await stop_hub()


async def test_every_frame_and_decision_is_a_line(site: None, lines: list[str]) -> None:
    """From coming to going; a message is one line, whoever receives it."""
    app = get_settings().apps[0]
    session = open_session(key=app.key, version="7", origin=None, socket=FakeSocket())
    session.receive(subscribe("whik"))
    await settle()
    get_hub().deliver(Message(f"{app.id}:whik", "News", '{"n":1}'))
    session.receive(ping())
    session.closed()
    assert lines == [
        "ID comes to application 1 from no page",
        'ID > {"event":"pusher:connection_established","data":"{\\"socket_id\\":\\"ID\\",'
        '\\"activity_timeout\\":30}"}',
        f"ID < {subscribe('whik')}",
        'ID > {"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"whik"}',
        'News on whik delivered to 1: {"n":1}',
        f"ID < {ping()}",
        'ID > {"event":"pusher:pong","data":"{}"}',
        "ID has gone",
    ]


async def test_a_refusal_says_why(site: None, lines: list[str]) -> None:
    session = open_session(
        key="unknown", version="7", origin="https://a.example", socket=FakeSocket()
    )
    session.closed()
    assert lines == [
        "ID comes to no application from a page of https://a.example",
        "ID closed with 4001: Application does not exist",
    ]


async def test_without_it_nothing_is_in_the_way(site: None) -> None:
    """A server that does not trace has the plain classes: what is off costs nothing."""
    session = open_session(key="x", version="7", origin=None, socket=FakeSocket())
    assert type(session) is Session
    assert type(get_hub()) is Hub


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"auth":"key:5ec7e7"}', '{"auth":"key:***"}'),
        ('{"data":"{\\"auth\\": \\"key:5ec7e7\\"}"}', '{"data":"{\\"auth\\": \\"key:***\\"}"}'),
        ('{"shared_secret":"5ec7e7"}', '{"shared_secret":"***"}'),
        ('{"auth":"5ec7e7', '{"auth":"***'),
        ("a\x1b[31m\nb\u202e", "a\\x1b[31m\\nb\\u202e"),
        ("휙", "휙"),
        ("x" * 300, "x" * MAX_SHOWN + "…"),
        ('{"auth":"key:' + "5ec7e7" * 200, '{"auth":"key:***'),
    ],
)
def test_a_line_holds_no_secret_and_nothing_that_a_terminal_obeys(text: str, line: str) -> None:
    assert shown(text) == line


def test_lines_go_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracing.logger, "handlers", [])
    tracing.write_to_terminal()
    tracing.logger.debug("ID closed")
    assert re.fullmatch(r"[0-9:]{8}\.[0-9]{3} ID closed\n", capsys.readouterr().err)
    tracing.logger.propagate = True
    tracing.logger.setLevel(logging.NOTSET)

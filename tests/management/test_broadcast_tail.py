"""``manage.py broadcast_tail``."""

import io
import json
import re
from threading import Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from broadcasting import EncryptedPrivateChannel, broadcast_to
from tests.conftest import RedisServer, RunServer
from tests.utils import free_port, wait_until

MASTER_KEY = "A" * 43 + "="


class Tail:
    """The command, in a thread of its own."""

    def __init__(self, *arguments: str) -> None:
        self.output = io.StringIO()
        self.error: CommandError | None = None
        self._notes = io.StringIO()
        self._arguments = arguments
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self.is_over or "Following" in self._notes.getvalue(), 20, "a start")

    @property
    def is_over(self) -> bool:
        """Whether the command has ended."""
        return not self._thread.is_alive()

    def lines(self) -> list[str]:
        """Return what was printed until the command ended by itself."""
        self._thread.join(60)
        assert self.is_over, f"still following: {self.output.getvalue()}"
        return self.output.getvalue().splitlines()

    def _run(self) -> None:
        try:
            call_command(
                "broadcast_tail",
                *self._arguments,
                stdout=self.output,
                stderr=self._notes,
                no_color=True,
            )
        except CommandError as exc:
            self.error = exc


def server_at(url: str, **app: Any) -> dict[str, Any]:
    """Return settings whose server listens at `url`."""
    memory = {"DRIVER": "broadcasting.drivers.memory.MemoryBroadcaster", "URL": url}
    return {"DEFAULT": "here", "CONNECTIONS": {"here": memory}, "APPS": [app]}


def redis_at(url: str, **app: Any) -> dict[str, Any]:
    """Return settings of a bus that all processes share."""
    redis = {"DRIVER": "broadcasting.drivers.redis.RedisBroadcaster", "URL": url}
    return {"DEFAULT": "redis", "CONNECTIONS": {"redis": redis}, "APPS": [app]}


def refusal(*arguments: str) -> str:
    """Return why the command refuses."""
    with pytest.raises(CommandError) as caught:
        call_command("broadcast_tail", *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    return str(caught.value)


class TestOnTheBus:
    @pytest.fixture(autouse=True)
    def _redis(self, settings: Settings, redis_server: RedisServer) -> None:
        settings.BROADCASTING = redis_at(redis_server.url, ENCRYPTION_MASTER_KEY_BASE64=MASTER_KEY)

    def test_events_are_printed_as_they_pass(self) -> None:
        """Time, channel, event and data, of all the channels and no other."""
        tail = Tail("news", "private-room.7", "--count", "2")
        broadcast_to(["elsewhere"], "Missed", {})
        broadcast_to(["news"], "Said", {"text": "가나"})
        broadcast_to(["private-room.7"], "Closed", {"by": 3})
        first, second = tail.lines()
        assert re.fullmatch(r'\d\d:\d\d:\d\d news Said {"text": "가나"}', first)
        assert second.endswith(' private-room.7 Closed {"by": 3}')

    def test_only_the_wanted_event_counts(self) -> None:
        """With ``--event`` the others are passed over."""
        tail = Tail("news", "--event", "Wanted", "--count", "1")
        broadcast_to(["news"], "Other", {})
        broadcast_to(["news"], "Wanted", {})
        (line,) = tail.lines()
        assert " Wanted " in line

    def test_json_is_one_object_per_line(self) -> None:
        """For other programs: the data is data, and nothing else is on standard output."""
        tail = Tail("news", "--json", "--count", "1")
        broadcast_to(["news"], "Said", {"n": 1})
        line = json.loads(*tail.lines())
        assert line.pop("at")
        assert line == {"channel": "news", "event": "Said", "data": {"n": 1}}

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_nobody_can_command_the_terminal(self, options: list[str]) -> None:
        """Names and data may come from a browser: what acts is shown, and a line stays one."""
        tail = Tail("news", "--count", "1", *options)
        broadcast_to(["news"], "Said\x1b[2J", {"text": "가\x9b31m\u202e", "more": "a\nb"})
        (line,) = tail.lines()
        assert not re.search("[\x1b\x9b\u202e]", line)
        assert "가" in line

    def test_sealed_data_is_opened_with_the_key(self) -> None:
        """Who looks after the server has it."""
        tail = Tail("private-encrypted-x", "--count", "1")
        broadcast_to(EncryptedPrivateChannel("x"), "Said", {"n": 1})
        (line,) = tail.lines()
        assert line.endswith(' Said {"n": 1}')

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["two words"], "cannot name a channel"),
            (["news", "--app", "9"], "no application '9'. Known applications: 1."),
            (["news", "--count", "0"], "--count is 0"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, arguments: list[str], words: str) -> None:
        """A name, an application, a number."""
        assert words in refusal(*arguments)


class TestAtAServer:
    def test_events_of_another_process_are_printed(
        self, runserver: RunServer, settings: Settings
    ) -> None:
        """Where the bus ends at the server's process, a socket to it is opened."""
        site = runserver("memory")
        settings.BROADCASTING = server_at(site.url)
        tail = Tail("whik", "private-x", "--count", "2")
        site.fetch("/pub")
        broadcast_to(["private-x"], "Said", {})
        first, second = tail.lines()
        assert ' whik NewUserCreated {"user": {' in first
        assert second.endswith(" private-x Said {}")

    def test_end_of_the_server_ends_the_command(
        self, runserver: RunServer, settings: Settings
    ) -> None:
        """With the reason."""
        site = runserver("memory")
        settings.BROADCASTING = server_at(site.url)
        tail = Tail("whik")
        site.stop()
        assert tail.lines() == []
        assert "the server closed the socket" in str(tail.error)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["whik"], "refused"),
            (["whik", "--url", "http://[::1"], "--url: "),
            # A socket in a presence channel is a member.
            (["presence-chat.1"], "presence-chat.1 can be followed only if"),
            (["#server-to-user-7"], "#server-to-user-7 can be followed only if"),
        ],
    )
    def test_what_cannot_be_followed_is_one_line(
        self, arguments: list[str], words: str, settings: Settings
    ) -> None:
        """An absent server, an address that is none, a channel whose members would notice."""
        settings.BROADCASTING = server_at(f"http://127.0.0.1:{free_port()}")
        assert words in refusal(*arguments)

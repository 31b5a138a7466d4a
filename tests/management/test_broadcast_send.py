"""``manage.py broadcast_send``."""

import io
from typing import cast

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from broadcasting import ShouldBroadcast, listen
from broadcasting.drivers.registry import broadcasters
from broadcasting.events import dispatch
from broadcasting.exceptions import BroadcastError
from tests.events.recording import RecordingBroadcaster, Sent

DRIVER = "tests.events.recording.RecordingBroadcaster"


@pytest.fixture(autouse=True)
def first(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> RecordingBroadcaster:
    """Return the default connection; ``second``, ``away`` and ``buggy`` exist beside it."""
    monkeypatch.setattr(dispatch, "_listeners", {})
    settings.BROADCASTING = {
        "DEFAULT": "first",
        "CONNECTIONS": {
            "first": {"DRIVER": DRIVER},
            "second": {"DRIVER": DRIVER},
            "away": {"DRIVER": DRIVER, "ERROR": BroadcastError("the bus is away")},
            "buggy": {"DRIVER": DRIVER, "ERROR": ZeroDivisionError("a bug")},
        },
        "APPS": [
            {
                "ID": "1",
                "KEY": "key",
                "SECRET": "secret",
                "ENCRYPTION_MASTER_KEY_BASE64": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            }
        ],
    }
    return cast(RecordingBroadcaster, broadcasters["first"])


def run(*arguments: str) -> str:
    """Run the command and return what it printed."""
    output = io.StringIO()
    call_command("broadcast_send", *arguments, stdout=output)
    return output.getvalue()


def test_it_sends_one_event(first: RecordingBroadcaster) -> None:
    """At once, and it prints so unless it shall be quiet. A name may have a comma."""
    printed = run("private-room,7", "Né", '{"text": "휙", "n": [1.5, null]}')
    assert first.sent == [Sent(("private-room,7",), "Né", {"text": "휙", "n": [1.5, None]}, None)]
    assert printed == "Sent Né on private-room,7 through connection 'first'.\n"
    assert run("news", "done", "--verbosity", "0") == ""


def test_data_may_be_left_out_or_read(
    first: RecordingBroadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is an empty object; a hyphen stands for standard input."""
    run("news", "none")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"id": 7}\n'))
    run("news", "read", "-")
    assert [(sent.event, sent.data) for sent in first.sent] == [("none", {}), ("read", {"id": 7})]


def test_via_names_the_connection(first: RecordingBroadcaster) -> None:
    """In place of the default one."""
    printed = run("news", "done", "--via", "second")
    second = cast(RecordingBroadcaster, broadcasters["second"])
    assert (first.names, second.names) == ([], ["done"])
    assert "'second'" in printed


def test_an_encrypted_channel_gets_sealed_data(first: RecordingBroadcaster) -> None:
    run("private-encrypted-a", "done", '{"pin": 1234}')
    assert set(cast(dict[str, str], first.sent[0].data)) == {"nonce", "ciphertext"}


def test_listeners_are_not_called(first: RecordingBroadcaster) -> None:
    """What is sent is no event of the application."""
    calls: list[object] = []
    listen(ShouldBroadcast)(calls.append)
    listen(object)(calls.append)
    run("news", "done")
    assert first.names == ["done"]
    assert calls == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a b", "done"), "'a b' cannot name a channel"),
        (("#control", "done"), "'#control' cannot name a channel"),
        (("news", "pusher:x"), "'pusher:x' cannot name an event"),
        (("news", "done", "{id: 7}"), "The data is not JSON: .*Quote it"),
        (("news", "done", ""), "The data is not JSON"),
        (("news", "done", "[" * 200_000), "The data is not JSON"),
        (("news", "done", "[1]"), r"JSON but not an object: \[1\]"),
        (("news", "done", '{"a": NaN}'), r"done\.a"),
        (("news", "done", '{"a": "' + "a" * 20_000 + '"}'), "limit is 10240"),
        (("news", "done", "--via", "nowhere"), "There is no broadcast connection 'nowhere'"),
        (("news", "done", "--via", "away"), "the bus is away"),
        (("news", "done", "--via", "buggy"), "not sent through connection 'buggy': a bug"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: tuple[str, ...], words: str, first: RecordingBroadcaster
) -> None:
    """No traceback, and nothing is sent."""
    with pytest.raises(CommandError, match=words) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    assert first.sent == []


@pytest.mark.django_db(transaction=True)
def test_it_does_not_wait_for_a_commit(first: RecordingBroadcaster) -> None:
    """A script that calls it inside a transaction still learns of a failure."""
    from django.db import transaction

    with transaction.atomic():
        run("news", "done")
        assert first.names == ["done"]
        with pytest.raises(CommandError, match="the bus is away"):
            run("news", "done", "--via", "away")

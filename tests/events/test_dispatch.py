"""Listeners, the capture of an event, its commit, and what becomes of failures."""

import asyncio
import base64
import json
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.utils import ConnectionHandler
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.functional import SimpleLazyObject
from nacl.secret import SecretBox
from pytest_django import Settings

from broadcasting import (
    BroadcastError,
    Channel,
    EncryptedPrivateChannel,
    PrivateChannel,
    ShouldBroadcast,
    ShouldBroadcastNow,
    abroadcast,
    abroadcast_to,
    aevent,
    aterminate_user_connections,
    broadcast,
    broadcast_to,
    event,
    listen,
    terminate_user_connections,
)
from broadcasting.channel import Channels
from broadcasting.drivers.registry import broadcasters
from broadcasting.encryption import shared_secret
from broadcasting.events import outgoing
from broadcasting.exceptions import InvalidChannel, InvalidUserId, PayloadError, PublisherBusy
from broadcasting.signals import broadcast_failed, broadcast_sent
from tests.events.conftest import DRIVER
from tests.events.recording import RecordingBroadcaster, Sent, heard


@dataclass
class Opened(ShouldBroadcast):
    room: int = 1

    def broadcast_on(self) -> Channels:
        return [PrivateChannel("room"), Channel("news")]


@dataclass
class OpenedNow(Opened, ShouldBroadcastNow):
    pass


@dataclass
class Custom(ShouldBroadcast):
    """An event that says everything about itself, and counts how often it is asked."""

    on: Any = "news"
    name: Any = "custom.name"
    data: Any = field(default_factory=dict)
    when: bool = True
    via: Any = ()
    asked: list[str] = field(default_factory=list)

    def broadcast_on(self) -> Channels:
        self.asked.append("on")
        return self.on  # type: ignore[no-any-return]  # set by a test

    def broadcast_as(self) -> str:
        self.asked.append("as")
        return self.name  # type: ignore[no-any-return]  # set by a test

    def broadcast_with(self) -> dict[str, object]:
        self.asked.append("with")
        return self.data  # type: ignore[no-any-return]  # set by a test

    def broadcast_when(self) -> bool:
        self.asked.append("when")
        return self.when

    def broadcast_via(self) -> str:
        self.asked.append("via")
        return self.via  # type: ignore[no-any-return]  # set by a test


class CustomNow(Custom, ShouldBroadcastNow):
    pass


class Base:
    pass


class Derived(Base):
    pass


def _note(calls: list[str], name: str, instance: object) -> None:
    calls.append(name)


class TestListeners:
    def test_they_are_called_in_order(self) -> None:
        """An event's own listeners first, then its bases', each as registered."""
        calls: list[str] = []
        for name, cls in [("base", Base), ("a", Derived), ("b", Derived), ("object", object)]:
            listen(cls)(partial(_note, calls, name))
        event(Derived())
        assert calls == ["a", "b", "base", "object"]
        calls.clear()
        event(Base())
        assert calls == ["base", "object"]

    def test_any_object_is_an_event(self, first: RecordingBroadcaster) -> None:
        """What is no `ShouldBroadcast` is heard by listeners and goes nowhere else."""
        heard: list[str] = []
        listen(str)(heard.append)
        event("text")
        assert heard == ["text"]
        assert first.sent == []

    def test_a_listener_stays_a_function(self) -> None:
        """The decorator returns what it decorates."""

        def listener(instance: Base) -> int:
            return 3

        assert listen(Base)(listener) is listener

    @pytest.mark.parametrize("wrong", [lambda instance: None, "Opened", Opened()])
    def test_only_a_class_can_be_listened_for(self, wrong: type) -> None:
        """Forgotten brackets are noticed when the module is imported."""
        with pytest.raises(TypeError, match=r"listen\(\) takes the class of an event"):
            listen(wrong)

    @pytest.mark.parametrize("style", ["function", "partial", "object"])
    def test_async_listeners_are_awaited(self, style: str) -> None:
        """Each is done before the next is called, whatever kind of callable it is."""
        calls: list[str] = []

        async def listener(instance: object) -> None:
            await asyncio.sleep(0)
            calls.append("async")

        class Callback:
            async def __call__(self, instance: object) -> None:
                await listener(instance)

        kinds: dict[str, Callable[[Base], object]]
        kinds = {"function": listener, "partial": partial(listener), "object": Callback()}
        listen(Base)(kinds[style])
        listen(Base)(lambda instance: calls.append("sync"))
        event(Base())
        assert calls == ["async", "sync"]

    async def test_aevent_calls_both_kinds(self, first: RecordingBroadcaster) -> None:
        """Sync listeners may block; async ones may fire further events."""
        calls: list[str] = []

        @listen(Base)
        def sync_listener(instance: Base) -> None:
            event(Opened())
            calls.append("sync")

        @listen(Base)
        async def async_listener(instance: Base) -> None:
            await aevent(Opened())
            calls.append("async")

        await aevent(Base())
        assert calls == ["sync", "async"]
        assert first.names == ["Opened", "Opened"]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_an_exception_ends_everything(
        self, is_async: bool, first: RecordingBroadcaster
    ) -> None:
        """It reaches the caller as it is; nobody else is called and nothing is sent."""
        error = LookupError("no such room")
        calls: list[object] = []

        def sync_listener(instance: Opened) -> None:
            raise error

        async def async_listener(instance: Opened) -> None:
            raise error

        listen(Opened)(async_listener if is_async else sync_listener)
        listen(Opened)(calls.append)
        with pytest.raises(LookupError) as caught:
            event(Opened())
        assert caught.value is error
        name = "async_listener" if is_async else "sync_listener"
        assert caught.traceback[-1].name == name
        assert calls == first.sent == []

    def test_they_run_before_the_broadcast(self, first: RecordingBroadcaster) -> None:
        """What a listener does to the event is sent."""

        @listen(Opened)
        def listener(instance: Opened) -> None:
            assert first.sent == []
            instance.room = 2

        event(Opened())
        assert [sent.data for sent in first.sent] == [{"room": 2}]

    def test_broadcast_calls_them_too(self, first: RecordingBroadcaster) -> None:
        """`broadcast` is `event` with options."""
        calls: list[object] = []
        listen(Opened)(calls.append)
        broadcast(Opened())
        assert calls == [Opened()]
        assert first.names == ["Opened"]


class TestCapture:
    def test_an_event_is_sent_once_to_all_its_channels(self, first: RecordingBroadcaster) -> None:
        """Outside a transaction it leaves at once."""
        event(Opened(7))
        assert first.sent == [Sent(("private-room", "news"), "Opened", {"room": 7}, None)]

    def test_each_method_is_asked_once(
        self, first: RecordingBroadcaster, second: RecordingBroadcaster
    ) -> None:
        """Also where two connections send."""
        instance = Custom(via=["first", "second", "first"])
        event(instance)
        assert sorted(instance.asked) == ["as", "on", "via", "when", "with"]
        assert first.sent == second.sent == [Sent(("news",), "custom.name", {}, None)]

    @pytest.mark.parametrize("instance", [Custom(when=False), Custom(on=[]), CustomNow(on=())])
    def test_nothing_is_sent_without_need(
        self, instance: Custom, first: RecordingBroadcaster
    ) -> None:
        """A condition that is false and an empty list of channels are no errors."""
        event(instance)
        assert first.sent == []
        assert "with" not in instance.asked

    @pytest.mark.parametrize(
        ("instance", "error", "words"),
        [
            (Custom(on="a b"), InvalidChannel, "'a b'"),
            (Custom(on=None), InvalidChannel, "None is not a channel"),
            (Custom(name=""), BroadcastError, "'' cannot name an event"),
            (Custom(name="pusher:x"), BroadcastError, "'pusher:x' cannot name an event"),
            (Custom(name=None), BroadcastError, "None cannot name an event"),
            (Custom(data=None), PayloadError, "data of Custom is of type NoneType"),
            (Custom(data={"a": [object()]}), PayloadError, r"Custom\.a\[0\] is of type object"),
            (Custom(via="nowhere"), ImproperlyConfigured, "'nowhere'"),
            (Custom(via=["first", "nowhere"]), ImproperlyConfigured, "'nowhere'"),
        ],
    )
    def test_mistakes_are_raised_where_they_are_made(
        self, instance: Custom, error: type[Exception], words: str, first: RecordingBroadcaster
    ) -> None:
        """A name, value or alias that is wrong is the caller's to mend, not the log's."""
        with pytest.raises(error, match=words):
            event(instance)
        assert first.sent == []

    def test_via_goes_before_what_the_event_says(
        self, first: RecordingBroadcaster, second: RecordingBroadcaster
    ) -> None:
        """One alias may be given as a string; none means the default connection."""
        broadcast(Custom(via="first"), via="second")
        event(Custom(via="second"))
        event(Custom(via=None))
        assert len(second.sent) == 2
        assert len(first.sent) == 1

    def test_broadcast_takes_only_events_that_broadcast(self) -> None:
        """Listeners are not called either."""
        calls: list[object] = []
        listen(Base)(calls.append)
        with pytest.raises(TypeError, match=r"event\(\) is for"):
            broadcast(Base())  # type: ignore[arg-type]  # the mistake under test
        assert calls == []

    def test_a_class_is_no_event(self) -> None:
        """Forgotten brackets would be an event that nobody hears."""
        with pytest.raises(TypeError, match=r"Write Base\(\.\.\.\)"):
            event(Base)

    def test_broadcast_to_needs_no_class(
        self, first: RecordingBroadcaster, second: RecordingBroadcaster
    ) -> None:
        """Channels, name and data are given; the options are the same."""
        broadcast_to(["a", PrivateChannel("b")], "done", {"id": 3})
        broadcast_to("a", "done", {"id": 4}, via="second")
        broadcast_to([], "done", {"id": 5})
        assert first.sent == [Sent(("a", "private-b"), "done", {"id": 3}, None)]
        assert second.sent == [Sent(("a",), "done", {"id": 4}, None)]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("a b", "done", {}), "'a b'"),
            (("a", "pusher_internal:x", {}), "cannot name an event"),
            (("a", "room.done", {"id": b""}), r"room\.done\.id is of type bytes"),
            (("a", "done", [1]), "data of done is of type list"),
        ],
    )
    def test_broadcast_to_raises_mistakes(
        self, arguments: tuple[Any, ...], words: str, first: RecordingBroadcaster
    ) -> None:
        """They are the caller's here, too."""
        with pytest.raises(BroadcastError, match=words):
            broadcast_to(*arguments)
        assert first.sent == []


class TestAsync:
    async def test_the_async_twins_send(self, first: RecordingBroadcaster) -> None:
        """Each does what its sync twin does."""
        await aevent(Opened(1))
        await abroadcast(Opened(2))
        await abroadcast_to("a", "done", {})
        assert first.names == ["Opened", "Opened", "done"]

    @pytest.mark.parametrize(
        ("call", "twin"),
        [
            (lambda: event(Opened()), "aevent"),
            (lambda: broadcast(Opened()), "abroadcast"),
            (lambda: broadcast_to("a", "done", {}), "abroadcast_to"),
        ],
    )
    async def test_sync_calls_in_async_code_name_their_twin(
        self, call: Callable[[], None], twin: str, first: RecordingBroadcaster
    ) -> None:
        """They would block the loop; no listener is called."""
        calls: list[object] = []
        listen(Opened)(calls.append)
        with pytest.raises(BroadcastError, match=rf"await {twin}\("):
            call()
        assert calls == first.sent == []

    async def test_errors_reach_the_awaiting_caller(self) -> None:
        """The hop to a thread hides nothing."""
        with pytest.raises(ZeroDivisionError):
            await aevent(Raising())
        with pytest.raises(TypeError, match="takes a ShouldBroadcast"):
            await abroadcast(Base())  # type: ignore[arg-type]  # the mistake under test


class Raising(Opened):
    def broadcast_when(self) -> bool:
        raise ZeroDivisionError


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestCommit:
    def test_an_event_waits_for_the_commit(self, first: RecordingBroadcaster) -> None:
        """Clients do not hear of rows they cannot read yet."""
        with transaction.atomic():
            event(Opened(1))
            broadcast(Opened(2))
            broadcast_to("a", "done", {})
            assert first.sent == []
        assert first.names == ["Opened", "Opened", "done"]

    def test_a_rollback_drops_it(self, first: RecordingBroadcaster) -> None:
        """What did not happen is not told."""
        with transaction.atomic():
            event(Opened())
            transaction.set_rollback(True)
        assert first.sent == []

    def test_savepoints_drop_only_their_own(self, first: RecordingBroadcaster) -> None:
        """An inner rollback takes the inner events along; an inner commit waits."""
        with transaction.atomic():
            event(Opened(1))
            with transaction.atomic():
                event(Opened(2))
                transaction.set_rollback(True)
            with transaction.atomic():
                event(Opened(3))
            assert first.sent == []
        assert [sent.data for sent in first.sent] == [{"room": 1}, {"room": 3}]

    def test_later_changes_do_not_alter_it(self, first: RecordingBroadcaster) -> None:
        """The data is settled when the event is fired."""
        instance = Opened(1)
        with transaction.atomic():
            event(instance)
            instance.room = 2
        assert first.sent[0].data == {"room": 1}

    def test_mistakes_do_not_wait(self) -> None:
        """The traceback leads to the code that fired the event."""
        with transaction.atomic():
            with pytest.raises(InvalidChannel):
                event(Custom(on="a b"))
            with pytest.raises(ImproperlyConfigured):
                broadcast(Opened(), via="nowhere")

    def test_each_database_has_its_own_commit(self, first: RecordingBroadcaster) -> None:
        """`using` names the one that matters."""
        with transaction.atomic(using="other"):
            event(Opened(1))
            assert len(first.sent) == 1
            broadcast(Opened(2), using="other")
            broadcast_to("a", "done", {}, using="other")
            assert len(first.sent) == 1
        assert first.names == ["Opened", "Opened", "done"]

    def test_now_does_not_wait(self, first: RecordingBroadcaster) -> None:
        """It leaves inside the transaction, and a rollback cannot call it back."""
        with transaction.atomic():
            event(OpenedNow())
            assert first.names == ["OpenedNow"]
            transaction.set_rollback(True)
        assert first.names == ["OpenedNow"]

    def test_the_loop_s_side_sees_the_transaction(self, first: RecordingBroadcaster) -> None:
        """Async code called from within an atomic block waits for its commit."""

        async def fire() -> None:
            await aevent(Opened(1))
            await abroadcast(Opened(2))
            await abroadcast_to("a", "done", {})

        with transaction.atomic():
            async_to_sync(fire)()
            assert first.sent == []
        assert len(first.sent) == 3

    def test_an_async_listener_sees_the_transaction(self, first: RecordingBroadcaster) -> None:
        """An event fired by a listener waits like the one it listened to."""

        @listen(Base)
        async def listener(instance: Base) -> None:
            await aevent(Opened())

        with transaction.atomic():
            event(Base())
            assert first.sent == []
        assert first.names == ["Opened"]

    def test_another_thread_has_a_transaction_of_its_own(self, first: RecordingBroadcaster) -> None:
        """A block that is open in one thread holds nothing back in another."""
        with transaction.atomic():
            event(Opened(1))
            thread = threading.Thread(target=event, args=(Opened(2),))
            thread.start()
            thread.join()
            assert [sent.data for sent in first.sent] == [{"room": 2}]
        assert [sent.data for sent in first.sent] == [{"room": 2}, {"room": 1}]

    def test_without_autocommit_it_leaves_at_once(self, first: RecordingBroadcaster) -> None:
        """A project that commits by hand is not told apart from one without transactions."""
        transaction.set_autocommit(False)
        try:
            event(Opened())
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)
        assert first.names == ["Opened"]

    def test_a_failure_on_commit_does_not_fail_the_commit(
        self, first: RecordingBroadcaster
    ) -> None:
        """What comes after it in the same transaction is sent."""
        with transaction.atomic():
            broadcast(Opened(1), via="buggy")
            broadcast(Opened(2), via="away")
            event(Opened(3))
        assert [sent.data for sent in first.sent] == [{"room": 3}]


def test_no_database_is_needed(
    first: RecordingBroadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``DATABASES = {}`` there is no transaction to wait for."""
    monkeypatch.setattr(outgoing, "connections", ConnectionHandler({}))
    event(Opened())
    assert first.names == ["Opened"]


def test_on_commit_is_not_called_outside_a_transaction(
    first: RecordingBroadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without a transaction never opens a connection to its database."""
    monkeypatch.setattr(connections["default"], "on_commit", None)
    event(Opened())
    assert first.names == ["Opened"]


class TestFailures:
    def test_it_is_logged_and_not_raised(self, caplog: pytest.LogCaptureFixture) -> None:
        """One line names event, channels and connection; the driver's error says the rest."""
        broadcast(Opened(), via="away")
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("broadcasting.events", logging.ERROR)
        assert record.getMessage() == (
            "Event Opened on private-room, news was not sent through connection 'away': "
            "the bus is away"
        )
        assert record.exc_info is None

    def test_a_bug_is_logged_with_its_traceback(self, caplog: pytest.LogCaptureFixture) -> None:
        """An error that the driver did not foresee has to be found."""
        broadcast_to("a", "done", {}, via="buggy")
        (record,) = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError

    def test_the_next_connection_is_tried(
        self, first: RecordingBroadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One bus that is away takes nothing from the others."""
        event(Custom(via=["away", "first", "buggy"]))
        assert first.names == ["custom.name"]
        assert len(caplog.records) == 2

    def test_now_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """The driver's own error as it is, any other as the cause of a `BroadcastError`."""
        with pytest.raises(BroadcastError, match="the bus is away"):
            broadcast(OpenedNow(), via="away")
        with pytest.raises(BroadcastError, match=r"OpenedNow .* 'buggy': a bug") as caught:
            broadcast(OpenedNow(), via="buggy")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caplog.records == []

    def test_now_keeps_the_kind_of_error(self, settings: Settings) -> None:
        """A caller can tell a busy bus, which is worth another try."""
        busy = {"DRIVER": DRIVER, "ERROR": PublisherBusy("try again")}
        settings.BROADCASTING = {"DEFAULT": "busy", "CONNECTIONS": {"busy": busy}}
        with pytest.raises(PublisherBusy):
            event(OpenedNow())

    def test_now_tries_every_connection_first(
        self, first: RecordingBroadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The first failure is raised, the others are logged."""
        with pytest.raises(BroadcastError, match="the bus is away"):
            event(CustomNow(via=["away", "buggy", "first"]))
        assert first.names == ["custom.name"]
        (record,) = caplog.records
        assert "'buggy'" in record.getMessage()

    @pytest.mark.parametrize("text", ["a", "방"])
    def test_data_above_the_limit_is_refused(self, text: str, settings: Settings) -> None:
        """Bytes count, not characters; the error says what to change."""
        app = {"ID": "1", "KEY": "key", "SECRET": "secret", "MAX_EVENT_SIZE": 40}
        settings.BROADCASTING = {
            "DEFAULT": "first",
            "CONNECTIONS": {"first": {"DRIVER": DRIVER}},
            "APPS": [app],
        }
        count = (40 - len('{"t":""}')) // len(text.encode())
        broadcast_to("a", "fits", {"t": text * count})
        with pytest.raises(PayloadError, match=r"bytes and the limit is 40.*MAX_EVENT_SIZE"):
            broadcast_to("a", "done", {"t": text * (count + 1)})
        recording = broadcasters["first"]
        assert isinstance(recording, RecordingBroadcaster)
        assert recording.names == ["fits"]


# Encrypted channels


def unseal(alias: str, channel: str, data: object) -> object:
    """Open what was sent on an encrypted channel, with the key of the connection's application."""
    assert isinstance(data, dict)
    assert set(data) == {"nonce", "ciphertext"}
    nonce, ciphertext = (base64.b64decode(data[name]) for name in ("nonce", "ciphertext"))
    key = shared_secret(broadcasters[alias].app, channel)
    return json.loads(SecretBox(key).decrypt(ciphertext, nonce))


class TestEncrypted:
    A, B = "private-encrypted-a", "private-encrypted-b"

    @pytest.fixture(autouse=True)
    def first(self, settings: Settings) -> RecordingBroadcaster:
        """Return the default connection; ``second`` is another application's, ``bare`` keyless."""
        keys = {"1": b"1" * 32, "2": b"2" * 32, "3": None}
        settings.BROADCASTING = {
            "DEFAULT": "first",
            "APPS": [
                {"ID": app_id, "KEY": f"key-{app_id}", "SECRET": "s", "MAX_EVENT_SIZE": 200}
                | ({"ENCRYPTION_MASTER_KEY_BASE64": base64.b64encode(key).decode()} if key else {})
                for app_id, key in keys.items()
            ],
            "CONNECTIONS": {
                "first": {"DRIVER": DRIVER},
                "second": {"DRIVER": DRIVER, "APP": "2"},
                "bare": {"DRIVER": DRIVER, "APP": "3"},
                "log": {"DRIVER": "broadcasting.drivers.log.LogBroadcaster"},
            },
        }
        return cast(RecordingBroadcaster, broadcasters["first"])

    def test_each_channel_is_sealed_with_its_own_key(self, first: RecordingBroadcaster) -> None:
        """Two of them in one event make two messages, each opening with one key only."""
        event(Custom(on=[EncryptedPrivateChannel("a"), self.B], data={"pin": 1234}))
        assert [sent.channels for sent in first.sent] == [(self.A,), (self.B,)]
        assert [unseal("first", sent.channels[0], sent.data) for sent in first.sent] == [
            {"pin": 1234},
            {"pin": 1234},
        ]

    def test_others_get_it_plain_in_one_message(self, first: RecordingBroadcaster) -> None:
        """The order is that of the event; what is not encrypted goes where the first such is."""
        broadcast_to([self.A, "x", self.B, "y"], "done", {"id": 3})
        assert [(sent.channels, sent.event) for sent in first.sent] == [
            ((self.A,), "done"),
            (("x", "y"), "done"),
            ((self.B,), "done"),
        ]
        assert first.sent[1].data == {"id": 3}

    def test_each_connection_seals_for_its_application(self, first: RecordingBroadcaster) -> None:
        """One event, two master keys."""
        event(Custom(on=self.A, data={"id": 3}, via=["first", "second"]))
        second = cast(RecordingBroadcaster, broadcasters["second"])
        for alias, recording in {"first": first, "second": second}.items():
            (sent,) = recording.sent
            assert unseal(alias, self.A, sent.data) == {"id": 3}

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        ("via", "words"),
        [("bare", "ENCRYPTION_MASTER_KEY_BASE64"), ("first", r"whik\[encrypted\]")],
    )
    def test_what_is_missing_is_told_when_the_event_is_fired(
        self, via: str, words: str, first: RecordingBroadcaster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key or the package: a mistake of the project, not of the bus. Nothing is sent."""
        if via == "first":
            monkeypatch.setitem(sys.modules, "nacl.secret", None)
        with transaction.atomic(), pytest.raises(ImproperlyConfigured, match=words):
            event(Custom(on=["x", self.A], via=["first", via]))
        assert first.sent == []

    def test_no_other_channel_needs_a_key(self) -> None:
        """Who has no encrypted channel has nothing to set up."""
        broadcast_to(["private-encrypted", "private-a"], "done", {}, via="bare")
        bare = cast(RecordingBroadcaster, broadcasters["bare"])
        assert bare.names == ["done"]

    def test_the_log_has_no_plain_data(self, caplog: pytest.LogCaptureFixture) -> None:
        """No driver is trusted with it."""
        with caplog.at_level(logging.INFO, logger="broadcasting.drivers"):
            broadcast_to([self.A], "done", {"word": "hush-hush"}, via="log")
        assert self.A in caplog.text
        assert "ciphertext" in caplog.text
        assert "hush-hush" not in caplog.text

    def test_the_limit_is_that_of_the_sealed_text(self, first: RecordingBroadcaster) -> None:
        """Where one channel's is too long, the others do not get half of the event."""
        broadcast_to(["x"], "plain", {"t": "a" * 150})
        with pytest.raises(PayloadError, match=f"sealed for {self.A}, has 292 bytes"):
            broadcast_to(["x", self.A], "done", {"t": "a" * 150})
        assert first.names == ["plain"]

    def test_a_refused_channel_fails_alone(
        self, first: RecordingBroadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The others get the event once, and the log and the signals name those without."""
        first.refuses = {"x", self.A}
        with heard(broadcast_failed) as failed, heard(broadcast_sent) as sent:
            broadcast_to(["x", "y", self.A, self.B], "done", {})
        assert [each.channels for each in first.sent] == [("y",), (self.B,)]
        assert failed[0]["channels"] == ("x", self.A)
        assert sent[0]["channels"] == ("y", self.B)
        assert f"Event done on x, {self.A} was not sent" in caplog.text

    def test_nothing_more_is_tried_where_the_bus_is_away(
        self, first: RecordingBroadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each try could take its time."""
        first.error = BroadcastError("the bus is away")
        broadcast_to(["x", self.A, self.B], "done", {})
        assert first.calls == 1
        assert f"Event done on x, {self.A}, {self.B} was not sent" in caplog.text


class TestTerminate:
    """`terminate_user_connections`, of which the servers hear on a channel of their own."""

    def sent(self, *ids: str) -> list[Sent]:
        return [Sent(("#control",), "terminate", user_id, None) for user_id in ids]

    @pytest.mark.parametrize(
        ("user", "user_id"),
        [
            (7, "7"),
            ("7", "7"),
            ("a@b.c", "a@b.c"),
            (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
            (User(pk=7), "7"),
            (SimpleLazyObject(lambda: User(pk=7)), "7"),
        ],
    )
    def test_a_user_or_an_id_is_told_to_the_servers(
        self, user: Any, user_id: str, first: RecordingBroadcaster
    ) -> None:
        """The id is the text that the user signs in with."""
        terminate_user_connections(user)
        assert first.sent == self.sent(user_id)

    @pytest.mark.parametrize(
        "user", ["", "a b", "방", "7" * 201, None, True, 1.5, b"7", User(), AnonymousUser(), object]
    )
    def test_what_nobody_signs_in_with_is_refused(
        self, user: Any, first: RecordingBroadcaster
    ) -> None:
        """Nothing is sent, and the error shows what was given."""
        with pytest.raises(InvalidUserId, match="Give a saved user or its id") as caught:
            terminate_user_connections(user)
        assert repr(user) in str(caught.value)
        assert isinstance(caught.value, BroadcastError)
        assert first.sent == []

    def test_via_names_the_connection(
        self, first: RecordingBroadcaster, second: RecordingBroadcaster
    ) -> None:
        """Another connection means other servers, or another application."""
        terminate_user_connections(7, via="second")
        assert (first.sent, second.sent) == ([], self.sent("7"))
        with pytest.raises(ImproperlyConfigured, match="'nowhere'"):
            terminate_user_connections(7, via="nowhere")

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_it_waits_for_the_commit(
        self, first: RecordingBroadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Sooner, a client that comes back would be let in again. A rollback drops it."""
        with transaction.atomic():
            terminate_user_connections(7)
            terminate_user_connections(8, via="away")
            terminate_user_connections(9, via="buggy")
            terminate_user_connections(10, using="other")
            assert first.sent == self.sent("10")
        assert first.sent == self.sent("10", "7")
        assert [record.getMessage() for record in caplog.records] == [
            "The sockets of user 8 were not closed through connection 'away': the bus is away",
            "The sockets of user 9 were not closed through connection 'buggy': a bug",
        ]
        assert [bool(record.exc_info) for record in caplog.records] == [False, True]
        with transaction.atomic():
            terminate_user_connections(11)
            transaction.set_rollback(True)
        assert first.sent == self.sent("10", "7")

    def test_a_failure_is_raised(self) -> None:
        """Who believes that a user is out should know when that is not so."""
        with pytest.raises(BroadcastError, match="the bus is away"):
            terminate_user_connections(7, via="away")

    async def test_the_async_twin_does_the_same(self, first: RecordingBroadcaster) -> None:
        """And the sync one names it where a loop is running."""
        await aterminate_user_connections(7)
        assert first.sent == self.sent("7")
        with pytest.raises(BroadcastError, match=r"await aterminate_user_connections\("):
            terminate_user_connections(8)
        with pytest.raises(InvalidUserId):
            await aterminate_user_connections("a b")


# To others


def fire_deep_below() -> None:
    def deeper() -> None:
        broadcast(Opened(), to_others=True)
        event(Opened())

    deeper()


def sync_view(request: HttpRequest) -> HttpResponse:
    fire_deep_below()
    return HttpResponse()


async def async_view(request: HttpRequest) -> HttpResponse:
    await asyncio.gather(
        abroadcast(Opened(), to_others=True), sync_to_async(broadcast)(Opened(), to_others=True)
    )
    await abroadcast_to("a", "done", {}, to_others=True)
    await aevent(Opened())
    return HttpResponse()


urlpatterns = [path("sync", sync_view), path("async", async_view)]


@pytest.mark.urls(__name__)
class TestToOthers:
    HEADERS = {"X-Socket-ID": "12.34"}

    def expect(self, view: str, recording: RecordingBroadcaster) -> None:
        ids = [sent.socket_id for sent in recording.sent]
        assert ids == {"sync": ["12.34", None], "async": ["12.34"] * 3 + [None]}[view]

    @pytest.mark.parametrize("view", ["sync", "async"])
    def test_the_sender_is_left_out_under_wsgi(
        self, view: str, first: RecordingBroadcaster
    ) -> None:
        """Code far below the view need not be handed the request."""
        Client().get(f"/{view}", headers=self.HEADERS)
        self.expect(view, first)

    @pytest.mark.parametrize("view", ["sync", "async"])
    async def test_the_sender_is_left_out_under_asgi(
        self, view: str, first: RecordingBroadcaster
    ) -> None:
        """The same in threads and tasks that the request started."""
        await AsyncClient().get(f"/{view}", headers=self.HEADERS)
        self.expect(view, first)

    def test_without_a_request_everybody_hears_it(self, first: RecordingBroadcaster) -> None:
        """A command has no socket to leave out."""
        broadcast(Opened(), to_others=True)
        assert first.sent[0].socket_id is None

    @pytest.mark.django_db(transaction=True)
    def test_the_id_is_captured_before_the_commit(self, first: RecordingBroadcaster) -> None:
        """The request may be over when the transaction ends."""
        with transaction.atomic():
            Client().get("/sync", headers=self.HEADERS)
            assert first.sent == []
        self.expect("sync", first)

    async def test_simultaneous_requests_keep_their_own(self, first: RecordingBroadcaster) -> None:
        """Each request leaves out its own page."""
        ids = [f"{number}.1" for number in range(10)]
        requests: list[Coroutine[Any, Any, Any]] = [
            AsyncClient().get("/async", headers={"X-Socket-ID": socket_id}) for socket_id in ids
        ]
        await asyncio.gather(*requests)
        done = [sent.socket_id for sent in first.sent if sent.event == "done"]
        assert sorted(filter(None, done)) == ids


def test_threads_fire_at_the_same_time(first: RecordingBroadcaster) -> None:
    """Events of many threads arrive, each once."""
    barrier = threading.Barrier(8)

    def fire(number: int) -> None:
        barrier.wait()
        for room in range(50):
            event(Opened(number * 50 + room))

    threads = [threading.Thread(target=fire, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rooms = [sent.data["room"] for sent in first.sent if isinstance(sent.data, dict)]
    assert sorted(rooms) == list(range(400))

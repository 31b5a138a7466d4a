"""What a user is told, where, and under which names."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from broadcasting import BroadcastNotification, Channel, anotify, listen, notify
from broadcasting.events.notifications import BroadcastNotificationCreated
from broadcasting.exceptions import BroadcastError, InvalidChannel, PayloadError
from tests.events.recording import RecordingBroadcaster

ECHO = "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated"


@dataclass
class OrderShipped(BroadcastNotification):
    number: int


class Told(BroadcastNotification):
    """Says everything itself."""

    def broadcast_on(self, user: Any) -> list[Channel]:
        return [Channel("news")]

    def broadcast_as(self) -> str:
        return "told"

    def broadcast_type(self) -> str:
        return "a.type"

    def broadcast_with(self, user: Any) -> dict[str, object]:
        return {"who": user.username}

    def broadcast_id(self) -> str:
        return "7"

    def broadcast_via(self, user: Any) -> str:
        return "second"


def saved_user(**fields: Any) -> User:
    """Return a user that looks saved."""
    user = User(pk=7, username="ann", **fields)
    user._state.adding = False
    return user


def test_user_is_told_on_the_private_channel(first: RecordingBroadcaster) -> None:
    """Under the name that Echo binds, with id and type beside the public fields."""
    given = notify(saved_user(), OrderShipped(4))
    (sent,) = first.sent
    assert sent.channels == ("private-auth.User.7",)
    assert sent.event == ECHO
    assert sent.data == {"number": 4, "id": given, "type": "OrderShipped"}
    assert len(given) == 36


def test_each_user_gets_another_id(first: RecordingBroadcaster) -> None:
    """One object may be sent to many."""
    notification = OrderShipped(4)
    assert notify(saved_user(), notification) != notify(saved_user(), notification)


def test_notification_has_its_say(second: RecordingBroadcaster) -> None:
    """Channel, name, type, id, data and connection are its own."""
    assert notify(saved_user(), Told()) == "7"
    (sent,) = second.sent
    assert sent.channels == ("news",)
    assert sent.event == "told"
    assert sent.data == {"who": "ann", "id": "7", "type": "a.type"}


@pytest.mark.parametrize(
    ("returned", "channel"),
    [
        ("users.7", "private-users.7"),
        ("private-users.7", "private-users.7"),
        ("#server-to-user-7", "#server-to-user-7"),
        (Channel("users.7"), "users.7"),
        (["users.7"], "private-users.7"),
        (("#server-to-user-7",), "#server-to-user-7"),
        ([Channel("users.7")], "users.7"),
    ],
)
def test_user_says_where_they_receive(
    returned: object, channel: str, first: RecordingBroadcaster
) -> None:
    """A bare name is a private one, in a list, too."""
    user = saved_user()
    vars(user)["receives_broadcast_notifications_on"] = lambda notification: returned
    notify(user, OrderShipped(4))
    assert first.sent[0].channels == (channel,)


def test_nothing_is_sent_unless_wanted(first: RecordingBroadcaster) -> None:
    """By the notification, to this user."""

    class Never(BroadcastNotification):
        def broadcast_when(self, user: Any) -> bool:
            return bool(user.username != "ann")

    notify(saved_user(), Never())
    assert first.sent == []


@pytest.mark.parametrize("name", ["id", "type"])
def test_data_does_not_hide_what_is_added(name: str) -> None:
    """Neither wins in silence."""

    class Clash(BroadcastNotification):
        def broadcast_with(self, user: Any) -> dict[str, object]:
            return {name: 1}

    with pytest.raises(PayloadError, match=f"The data of Clash has {name}, which notify"):
        notify(saved_user(), Clash())


def test_nobody_cannot_be_told() -> None:
    """A user that is not saved has no channel."""
    with pytest.raises(InvalidChannel, match="has not been saved"):
        notify(User(username="ann"), OrderShipped(4))
    with pytest.raises(InvalidChannel):
        notify(AnonymousUser(), OrderShipped(4))  # type: ignore[arg-type]  # the mistake


def test_another_object_is_refused() -> None:
    """An event is no notification."""
    with pytest.raises(TypeError, match=r"notify\(\) takes a BroadcastNotification"):
        notify(saved_user(), SimpleNamespace())  # type: ignore[arg-type]  # the mistake


def test_listeners_hear_it(first: RecordingBroadcaster) -> None:
    """It is an event like any other."""
    heard: list[BroadcastNotificationCreated] = []
    listen(BroadcastNotificationCreated)(heard.append)
    given = notify(saved_user(), OrderShipped(4))
    assert [(event.user.pk, event.notification, event.id) for event in heard] == [
        (7, OrderShipped(4), given)
    ]


@pytest.mark.django_db(transaction=True)
def test_it_waits_for_the_commit(first: RecordingBroadcaster) -> None:
    """And is dropped by a rollback."""
    with transaction.atomic():
        notify(saved_user(), OrderShipped(4))
        assert first.sent == []
    assert len(first.sent) == 1
    with transaction.atomic():
        notify(saved_user(), OrderShipped(4))
        transaction.set_rollback(True)
    assert len(first.sent) == 1


async def test_async_code_awaits_anotify(first: RecordingBroadcaster) -> None:
    """The sync function names it."""
    with pytest.raises(BroadcastError, match=r"await anotify\(\.\.\.\)"):
        notify(saved_user(), OrderShipped(4))
    given = await anotify(saved_user(), OrderShipped(4))
    assert first.sent[0].data == {"number": 4, "id": given, "type": "OrderShipped"}

"""Channels and their names."""

from collections import deque
from enum import Enum
from typing import cast

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.utils.functional import SimpleLazyObject

from broadcasting import Channel, EncryptedPrivateChannel, PresenceChannel, PrivateChannel
from broadcasting.channel import Channels, channel_names
from broadcasting.exceptions import BroadcastError, InvalidChannel


class Room(str, Enum):  # noqa: UP042 - formatted, it would give 'Room.LOBBY'
    LOBBY = "lobby"


class Manager(Group):
    class Meta:
        app_label = "tests_channel"
        proxy = True


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        (Channel("news"), "news"),
        (PrivateChannel("news"), "private-news"),
        (PresenceChannel("news"), "presence-news"),
        (EncryptedPrivateChannel("news"), "private-encrypted-news"),
        (PrivateChannel(Room.LOBBY), "private-lobby"),
        (Channel("a" * 200), "a" * 200),
    ],
)
def test_each_kind_adds_its_prefix(channel: Channel, name: str) -> None:
    """The name is also the text of the channel."""
    assert channel.name == str(channel) == name
    assert type(channel.name) is str


def test_channels_with_one_name_are_equal() -> None:
    """But not to a string."""
    assert Channel("private-x") == PrivateChannel("x")
    assert len({Channel("private-x"), PrivateChannel("x"), PresenceChannel("x")}) == 2
    assert Channel("x") != "x"
    assert repr(PrivateChannel("x")) == "<PrivateChannel private-x>"


@pytest.mark.parametrize(
    "name",
    ["a b", "a\n", "a/b", "a:b", "방", "#a", "#server-to-user-7", "a" * 201, "", b"a", None, 7],
)
def test_an_invalid_name_raises(name: str) -> None:
    """The error names the value. It is a `BroadcastError` and a `ValueError`."""
    with pytest.raises(InvalidChannel, match="name") as caught:
        Channel(name)
    assert isinstance(caught.value, BroadcastError)
    assert isinstance(caught.value, ValueError)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("name", "text"), [("a" * 200, "1 to 200"), ("", r"PrivateChannel\(''\)")])
def test_a_prefix_alone_is_no_name_and_counts_towards_the_length(name: str, text: str) -> None:
    """The protocol limits the full name."""
    with pytest.raises(InvalidChannel, match=text):
        PrivateChannel(name)


@pytest.mark.django_db
def test_a_saved_model_names_its_channel() -> None:
    """By its label and its key, also through a lazy object or a proxy."""
    user = User.objects.create(username="ada")
    assert PrivateChannel(user).name == f"private-auth.User.{user.pk}"
    assert EncryptedPrivateChannel(user).name == f"private-encrypted-auth.User.{user.pk}"
    lazy = cast(User, SimpleLazyObject(lambda: user))
    assert Channel(lazy).name == f"auth.User.{user.pk}"
    group = Group.objects.create(name="staff")
    proxy = Manager.objects.get(pk=group.pk)
    assert Channel(proxy).name == f"tests_channel.Manager.{group.pk}"


def test_a_model_without_a_row_is_refused() -> None:
    """Also with a key, and a visitor who has not logged in."""
    for user in (User(), User(pk=3)):
        with pytest.raises(InvalidChannel, match=r"auth\.User has not been saved.*Save it first"):
            Channel(user)
    with pytest.raises(InvalidChannel, match="AnonymousUser"):
        Channel(AnonymousUser())  # type: ignore[arg-type]  # what a view may well pass


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (PrivateChannel("x"), ("private-x",)),
        ("x", ("x",)),
        (Room.LOBBY, ("lobby",)),
        ([], ()),
        (["b", Channel("a"), "b", PrivateChannel("b")], ("b", "a", "private-b")),
        (("a",), ("a",)),
        (deque(["a", "b"]), ("a", "b")),
    ],
)
def test_channels_become_distinct_names_in_order(given: Channels, names: tuple[str, ...]) -> None:
    """From one channel, a name, or a sequence of them."""
    assert channel_names(given) == names
    assert all(type(name) is str for name in channel_names(given))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("an empty list sends to nobody", [None, {"a": 1}, {"a"}, 7]),
        (r"Write Channel\(\.\.\.\)", [["a", item] for item in (None, 3, b"a", ["a"], User(pk=1))]),
        ("'a b' cannot name a channel", [["a b"]]),
        ("#server-to-user-<id>", ["#server-to-user-", "#server-to-user-a b", "#server-to-users"]),
        ("#server-to-user-<id>", ["#server-to-user-" + "7" * 201, "#control", "private-#x"]),
    ],
)
def test_anything_else_is_refused(text: str, values: list[Channels]) -> None:
    """The error says what to write. A model alone has no kind."""
    for value in values:
        with pytest.raises(InvalidChannel, match=text):
            channel_names(value)


def test_the_channel_of_a_user_is_a_string() -> None:
    """No class has such a name, so nobody uses one by accident."""
    assert channel_names(["#server-to-user-7", "news"]) == ("#server-to-user-7", "news")

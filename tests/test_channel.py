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
    """The name and the text of a channel are what appears on the wire."""
    assert channel.name == str(channel) == name
    assert type(channel.name) is str


def test_channels_of_one_name_are_equal() -> None:
    """A channel is its full name, however that came about; it is no string."""
    assert Channel("private-x") == PrivateChannel("x")
    assert len({Channel("private-x"), PrivateChannel("x"), PresenceChannel("x")}) == 2
    assert Channel("x") != "x"
    assert repr(PrivateChannel("x")) == "<PrivateChannel private-x>"


@pytest.mark.parametrize(
    "name",
    ["a b", "a\n", "a/b", "a:b", "방", "#a", "#server-to-user-7", "a" * 201, "", b"a", None, 7],
)
def test_a_name_the_protocol_refuses_raises(name: str) -> None:
    """The error names the value; it can be caught as a broadcast's or a value's."""
    with pytest.raises(InvalidChannel, match="name") as caught:
        Channel(name)
    assert isinstance(caught.value, BroadcastError)
    assert isinstance(caught.value, ValueError)
    assert repr(name) in str(caught.value)


def test_the_prefix_counts_towards_the_length() -> None:
    """What the protocol limits is the full name."""
    with pytest.raises(InvalidChannel, match="1 to 200 characters, prefix included"):
        PrivateChannel("a" * 200)


def test_an_empty_name_is_refused_whatever_the_prefix() -> None:
    """A prefix alone is a name that nobody means."""
    with pytest.raises(InvalidChannel, match=r"PrivateChannel\(''\)"):
        PrivateChannel("")


@pytest.mark.django_db
def test_a_saved_model_names_its_channel() -> None:
    """The name is the model's label and its key, also through a lazy object or a proxy."""
    user = User.objects.create(username="ada")
    assert PrivateChannel(user).name == f"private-auth.User.{user.pk}"
    assert EncryptedPrivateChannel(user).name == f"private-encrypted-auth.User.{user.pk}"
    lazy = cast(User, SimpleLazyObject(lambda: user))
    assert Channel(lazy).name == f"auth.User.{user.pk}"
    group = Group.objects.create(name="staff")
    proxy = Manager.objects.get(pk=group.pk)
    assert Channel(proxy).name == f"tests_channel.Manager.{group.pk}"


def test_an_unsaved_model_is_refused() -> None:
    """A key given by hand does not make a row."""
    for user in (User(), User(pk=3)):
        with pytest.raises(InvalidChannel, match=r"auth\.User has not been saved.*Save it first"):
            Channel(user)


def test_an_anonymous_user_is_refused() -> None:
    """``request.user`` of a guest is not a model."""
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
    """One channel, a name or any sequence of them may be given."""
    assert channel_names(given) == names
    assert all(type(name) is str for name in channel_names(given))


@pytest.mark.parametrize("given", [None, {"a": 1}, {"a"}, 7])
def test_what_is_no_sequence_of_channels_is_refused(given: Channels) -> None:
    """A forgotten ``return`` is told what to return."""
    with pytest.raises(InvalidChannel, match="an empty list sends to nobody"):
        channel_names(given)


@pytest.mark.parametrize("item", [None, 3, b"a", ["a"], User(pk=1)])
def test_an_item_that_is_no_channel_is_refused(item: str) -> None:
    """A model alone does not say which kind of channel is meant."""
    with pytest.raises(InvalidChannel, match=r"Write Channel\(\.\.\.\)"):
        channel_names(["a", item])


def test_a_string_is_checked_like_a_channel() -> None:
    """Names in a list obey the same rule."""
    with pytest.raises(InvalidChannel, match="'a b' cannot name a channel"):
        channel_names(["a b"])


def test_a_user_s_sockets_are_addressed_by_a_string() -> None:
    """No class has such a name, so that none is made of it by accident."""
    assert channel_names(["#server-to-user-7", "news"]) == ("#server-to-user-7", "news")


@pytest.mark.parametrize(
    "name",
    [
        "#server-to-user-",
        "#server-to-user-a b",
        "#server-to-user-" + "7" * 201,
        "#server-to-users",
        "#control",
        "#",
        "private-#server-to-user-7",
    ],
)
def test_no_other_name_of_the_server_s_own_is_taken(name: str) -> None:
    """What servers tell each other is not for publishers."""
    with pytest.raises(InvalidChannel, match=r"#server-to-user-<id>, as a string"):
        channel_names(name)

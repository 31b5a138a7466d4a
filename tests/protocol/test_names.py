"""Names, by their spelling alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.protocol.names import (
    is_cache,
    is_channel_name,
    is_client_event,
    is_encrypted,
    is_event_name,
    is_guarded,
    is_presence,
    is_publishable,
    is_reserved,
    is_socket_id,
    is_user_channel,
    is_utf8,
    is_watch_channel,
    user_channel,
    watch_channel,
)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("x", ""),
        ("cache-x", "cache"),
        ("private-x", "guarded"),
        ("private-cache-x", "guarded cache"),
        ("presence-x", "guarded presence"),
        ("presence-cache-x", "guarded presence cache"),
        ("private-encrypted-x", "guarded encrypted"),
        ("private-encrypted-cache-x", "guarded encrypted cache"),
        ("cache-private-x", "cache"),
        ("private-presence-x", "guarded"),
        ("presence-encrypted-x", "guarded presence"),
        ("private-encryptedx", "guarded"),
        ("my-cache-x", ""),
        ("not-private-x", ""),
        ("Presence-x", ""),
        ("privatex", ""),
        ("cache", ""),
    ],
)
def test_the_kind_is_told_by_the_prefix(name: str, kinds: str) -> None:
    """At the start, with its dash, in this spelling."""
    predicates = {
        "guarded": is_guarded,
        "presence": is_presence,
        "encrypted": is_encrypted,
        "cache": is_cache,
    }
    found = " ".join(kind for kind, predicate in predicates.items() if predicate(name))
    assert found == kinds


class TestReservedNames:
    def test_a_users_channel_is_told_from_others(self) -> None:
        """By its prefix and an id of the allowed characters."""
        assert user_channel("a@b") == "#server-to-user-a@b"
        assert is_user_channel("#server-to-user-" + "x" * 200)
        for name in ("#server-to-user-", "#server-to-user-a b", "server-to-user-1", "#x", "x"):
            assert not is_user_channel(name)

    def test_a_publisher_may_name_it_and_no_other(self) -> None:
        """What begins with # is the server's."""
        assert is_publishable("x")
        assert is_publishable("#server-to-user-1")
        for name in ("#x", "#watch-1", "#control", "", None, 1):
            assert not is_publishable(name)

    @given(user_id=st.from_regex(r"[A-Za-z0-9_\-=@,.;]{1,200}", fullmatch=True))
    def test_no_client_can_name_what_is_reserved(self, user_id: str) -> None:
        """A name with # is no channel's name."""
        for name in (user_channel(user_id), watch_channel(user_id)):
            assert is_reserved(name)
            assert not is_channel_name(name)
        assert is_watch_channel(watch_channel(user_id))
        assert not is_publishable(watch_channel(user_id))


def test_a_client_event_is_told_by_its_prefix() -> None:
    """At the start, with its dash."""
    assert is_client_event("client-")
    assert not is_client_event("client")
    assert not is_client_event("my-client-x")


class TestChannelNames:
    @pytest.mark.parametrize(
        "name", ["a", "my-channel", "private-x", "cache-x", "A9_-=@,.;", "x" * 200]
    )
    def test_the_documented_characters_are_allowed(self, name: str) -> None:
        """Letters, digits and ``_-=@,.;``, up to 200 of them."""
        assert is_channel_name(name)

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "x" * 201,
            "a b",
            "a\n",
            "\na",
            "a:b",
            "a/b",
            "#server-to-user-1",
            "ż",
            "a\x00",
            "\ud800",
            "a*",
            "²",
        ],
    )
    def test_other_characters_and_lengths_are_not(self, name: str) -> None:
        """A trailing newline, a colon, other scripts and reserved names are refused."""
        assert not is_channel_name(name)

    @pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, b"channel", ["a"]])
    def test_what_is_not_text_is_no_name(self, value: object) -> None:
        """Any JSON value may stand where a name is expected."""
        assert not is_channel_name(value)

    @given(st.text(max_size=210))
    def test_a_name_is_ascii_and_needs_no_escape(self, name: str) -> None:
        """Whatever is accepted can stand in a topic, a URL and JSON as it is."""
        if is_channel_name(name):
            assert name.isascii()
            assert name.isprintable()
            assert not set(name) & set(':/#?"\\ %')
            assert 1 <= len(name) <= 200


class TestGuardedChannels:
    @pytest.mark.parametrize(
        "name",
        [
            "private-x",
            "private-",
            "private-cache-x",
            "private-encrypted-x",
            "private-encrypted-cache-x",
            "presence-x",
            "presence-cache-x",
        ],
    )
    def test_the_prefix_guards(self, name: str) -> None:
        """Private, encrypted and presence channels, cached or not, need a signature."""
        assert is_guarded(name)

    @pytest.mark.parametrize(
        "name", ["x", "cache-x", "not-private-x", "xpresence-y", "Private-x", "private", "presence"]
    )
    def test_only_at_the_start_and_as_it_is_spelt(self, name: str) -> None:
        """A prefix elsewhere in the name, or in capitals, means nothing."""
        assert not is_guarded(name)


class TestEventNames:
    @pytest.mark.parametrize(
        "name",
        ["x", "App\\Events\\X", "with space", "zażółć", "client-x", "x" * 200, "pusher", "a\nb"],
    )
    def test_nearly_any_text_will_do(self, name: str) -> None:
        """Event names are free text of 1 to 200 characters."""
        assert is_event_name(name)

    @pytest.mark.parametrize(
        "name", ["", "x" * 201, "pusher:x", "pusher_internal:x", "\ud800", None, 1, ["x"]]
    )
    def test_reserved_and_impossible_names_are_refused(self, name: object) -> None:
        """Nobody may speak as the server, nor use what UTF-8 cannot carry."""
        assert not is_event_name(name)


class TestSocketIds:
    @pytest.mark.parametrize("value", ["1.1", "123456.7891011", "0.0", f"{'9' * 20}.{'9' * 20}"])
    def test_two_numbers_with_a_dot(self, value: str) -> None:
        """The form that every SDK expects."""
        assert is_socket_id(value)

    @pytest.mark.parametrize(
        "value",
        [
            *("", ".", "1.", ".1", "1", "1.1.1", "1.1\n", " 1.1", "-1.1", "1,1", "a.b"),
            *("١.١", "².²", "1" * 21 + ".1", None, 1.1, ["1.1"]),
        ],
    )
    def test_anything_else_is_refused(self, value: object) -> None:
        """Newlines, other scripts' digits and JSON numbers are no socket ids."""
        assert not is_socket_id(value)


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_is_utf8_agrees_with_the_codec(text: str) -> None:
    """Only lone surrogates cannot be sent."""
    assert is_utf8(text) is not any("\ud800" <= character <= "\udfff" for character in text)

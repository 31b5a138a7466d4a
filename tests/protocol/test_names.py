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

NO_TEXT: tuple[object, ...] = (None, 1, 1.5, True, [], {}, b"x", ["x"])


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("x", ""),
        ("cache-x", "cache"),
        ("private-", "guarded"),
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
        *((name, "") for name in ("my-cache-x", "not-private-x", "xpresence-y", "Presence-x")),
        *((name, "") for name in ("private", "privatex", "presence", "cache", "Private-x")),
    ],
)
def test_the_kind_is_a_prefix(name: str, kinds: str) -> None:
    predicates = {
        "guarded": is_guarded,
        "presence": is_presence,
        "encrypted": is_encrypted,
        "cache": is_cache,
    }
    found = " ".join(kind for kind, predicate in predicates.items() if predicate(name))
    assert found == kinds


def test_a_users_channel_is_told_from_others() -> None:
    assert user_channel("a@b") == "#server-to-user-a@b"
    assert is_user_channel("#server-to-user-" + "x" * 200)
    for name in ("#server-to-user-", "#server-to-user-a b", "server-to-user-1", "#x", "x"):
        assert not is_user_channel(name)
    assert is_publishable("x")
    assert is_publishable("#server-to-user-1")
    for other in ("#x", "#watch-1", "#control", "", None, 1):
        assert not is_publishable(other)


@given(user_id=st.from_regex(r"[A-Za-z0-9_\-=@,.;]{1,200}", fullmatch=True))
def test_no_client_can_name_what_is_reserved(user_id: str) -> None:
    for name in (user_channel(user_id), watch_channel(user_id)):
        assert is_reserved(name)
        assert not is_channel_name(name)
    assert is_watch_channel(watch_channel(user_id))
    assert not is_publishable(watch_channel(user_id))


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        *((name, True) for name in ("a", "my-channel", "cache-x", "A9_-=@,.;", "x" * 200)),
        *((name, False) for name in ("", "x" * 201, "a b", "a\n", "\na", "a:b", "a/b", "#a")),
        *((name, False) for name in ("ż", "a\x00", "\ud800", "a*", "²", *NO_TEXT)),
    ],
)
def test_channel_names(name: object, is_valid: bool) -> None:
    assert is_channel_name(name) is is_valid


@given(st.text(max_size=210))
def test_a_channel_name_is_ascii_and_needs_no_escape(name: str) -> None:
    if is_channel_name(name):
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set(':/#?"\\ %')
        assert 1 <= len(name) <= 200


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        *((name, True) for name in ("x", "App\\Events\\X", "with space", "zażółć", "client-x")),
        *((name, True) for name in ("x" * 200, "pusher", "a\nb")),
        *((name, False) for name in ("", "x" * 201, "pusher:x", "pusher_internal:x", "\ud800")),
        *((name, False) for name in NO_TEXT),
    ],
)
def test_event_names(name: object, is_valid: bool) -> None:
    assert is_event_name(name) is is_valid


def test_a_client_event_is_told_by_its_prefix() -> None:
    found = [is_client_event(name) for name in ("client-", "client", "my-client-x")]
    assert found == [True, False, False]


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        *((value, True) for value in ("1.1", "123456.7891011", "0.0", f"{'9' * 20}.{'9' * 20}")),
        *((value, False) for value in ("", ".", "1.", ".1", "1", "1.1.1", "1.1\n", " 1.1")),
        *((value, False) for value in ("-1.1", "1,1", "a.b", "١.١", "².²", "1" * 21 + ".1")),
        *((value, False) for value in NO_TEXT),
    ],
)
def test_socket_ids(value: object, is_valid: bool) -> None:
    assert is_socket_id(value) is is_valid


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_is_utf8_agrees_with_the_codec(text: str) -> None:
    assert is_utf8(text) is not any("\ud800" <= character <= "\udfff" for character in text)

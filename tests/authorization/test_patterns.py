"""Patterns of channel names: what they match, refuse, and share with others."""

import re
from collections.abc import Iterator, Mapping
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import converters
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.authorization.patterns import Pattern, bare_name
from broadcasting.protocol.names import is_channel_name

KEY = "0b6f5c1e-2d3a-4b5c-8d7e-9f0a1b2c3d4e"


class EvenConverter:
    """Takes even numbers only, which its expression alone does not say."""

    regex = r"[0-9]{1,4}"

    def to_python(self, value: str) -> int:
        if int(value) % 2:
            raise ValueError(value)
        return int(value)


class TextConverter:
    """Takes what its expression says, and has no `to_url`."""

    def __init__(self, regex: str) -> None:
        self.regex = regex

    def to_python(self, value: str) -> str:
        return value


@pytest.fixture(autouse=True)
def _own_converters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register converters of a project's own."""
    regexes = {
        "maybe": "(?:yes|no)?",
        "broken": "(",
        "year": "[0-9]{4}",
        "word": r"\w+",
    }
    own: dict[str, object] = {name: TextConverter(regex) for name, regex in regexes.items()}
    own["even"] = EvenConverter()
    monkeypatch.setattr(converters, "REGISTERED_CONVERTERS", own)
    forget = converters.get_converters.cache_clear  # type: ignore[attr-defined]  # not in the stubs
    forget()
    yield
    forget()


@pytest.mark.parametrize(
    ("channels", "bare"),
    [
        ("private-chat.1 presence-chat.1 private-encrypted-chat.1", "chat.1"),
        ("private-cache-chat.1 presence-cache-chat.1 private-encrypted-cache-chat.1", "chat.1"),
        # Exactly one prefix is removed.
        ("private-encrypted-private-123 private-private-123", "private-123"),
        ("presence-encrypted-x private-cache-encrypted-x", "encrypted-x"),
        ("private-presence-x", "presence-x"),
        ("private- private-encrypted-", ""),
        ("chat.1 cache-chat.1 not-private-chat.1 Private-chat.1", None),
    ],
)
def test_one_prefix_is_removed(channels: str, bare: str | None) -> None:
    """One pattern serves every kind of channel; public ones have no rules."""
    assert {bare_name(channel) for channel in channels.split()} == {bare}


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        # Of Laravel's tests, where the protocol allows the name.
        ("something", "something", {}),
        ("something.{id}.test.{id2}", "something.23.test.42", {"id": "23", "id2": "42"}),
        ("something-{id}=test-{id2}", "something-23=test-42", {"id": "23", "id2": "42"}),
        ("{room}", "lobby", {"room": "lobby"}),
        ("{a}-{b}", "x-y-z", {"a": "x-y", "b": "z"}),
        ("{room}.chat", "x.chat", {"room": "x"}),
        ("chat.{room}", "chat.a_b-c@d=e,f;g", {"room": "a_b-c@d=e,f;g"}),
        ("chat.{id:int}", "chat.7", {"id": 7}),
        ("chat.{id:int}", "chat.0", {"id": 0}),
        ("chat.{id:slug}", "chat.a-b_c", {"id": "a-b_c"}),
        ("chat.{id:uuid}", f"chat.{KEY}", {"id": UUID(KEY)}),
        ("chat.{all:path}", "chat.a.b.c", {"all": "a.b.c"}),
        ("chat.{all:str}.end", "chat.a.b.end", {"all": "a.b"}),
        ("chat.{n:even}", "chat.8", {"n": 8}),
        ("chat.{a:maybe}", "chat.yes", {"a": "yes"}),
    ],
)
def test_match(pattern: str, name: str, expected: Mapping[str, object]) -> None:
    """A converter returns its value, everything else is text."""
    assert Pattern(pattern).match(name) == expected


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("something", "something.23 notsomething Something"),
        ("something.{id}", "something. something.23.test something.23. another.something.23"),
        ("something.{id}.test", "something..test"),
        ("chat.1", "chatx1"),
        ("{room}", "lobby.1"),
        ("chat.{id:int}", "chat.007 chat.-7 chat.7_0 chat.x"),  # Events go to chat.7.
        ("chat.{id:slug}", "chat.a@b"),
        ("chat.{id:uuid}", f"chat.{KEY[:-1]}"),
        ("chat.{n:even}", "chat.7"),
        ("chat.{a:maybe}", "chat."),
    ],
)
def test_no_match(pattern: str, names: str) -> None:
    """The whole name is matched, and a parameter is never empty."""
    for name in names.split():
        assert Pattern(pattern).match(name) is None


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("must be text", ["", None, 7]),
        ("must not begin with", ["private-chat.{room}", "presence-chat", "cache-chat"]),
        ("contains 'chat:'", ["chat:{room}"]),
        ("contains", ["chat/{room}", "chat.{room", "chat.room}", "chat.{{room}}", "chat.*"]),
        ("contains", ["chat.é", "chat.\n"]),
        ("up to 200", ["x" * 201]),
        ("not a name in Python", ["chat.{}", "chat.{7}", "chat.{a b}", "chat.{class}", "{é}"]),
        ("'a' twice", ["chat.{a}.{a}"]),
        ("nothing between", ["chat.{a}{b}"]),
        ("more than 2 parameters", ["chat.{a}-{b}-{c}", "{a}x{b}x{c}.{d}"]),
        ("path converter 'number'. Known: broken, even, int", ["chat.{id:number}"]),
        ("path converter ''", ["chat.{id:}"]),
        ("does not fit", ["chat.{id:broken}"]),
    ],
)
def test_what_can_never_match_is_refused(text: str, patterns: list[str]) -> None:
    """When it is written, with the reason and the pattern."""
    for pattern in patterns:
        with pytest.raises(ImproperlyConfigured, match=re.escape(text)) as caught:
            Pattern(pattern)
        assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize(
    ("first", "overlapping", "others"),
    [
        (
            "chat.{room}",
            "chat.{room} chat.lobby {kind}.lobby",
            "chat.{room}.typing chats.{room} room.{chat} chat",
        ),
        ("{room}", "lobby", "lobby.1"),
        ("chat", "chat", "chats"),
        ("chat.{a}-{b}", "chat.{c}", "chat.x"),
        ("{a}-{b}.{c}-{d}", "{e}.{f}", "{e}"),
        ("chat.{a:int}-{b}-{c:int}-{d}", "chat.{e}", "chat.{e:int}"),
        ("chat.{a}x", "chat.y{b}", "chat.{b}y"),
        ("chat.a{x}", "chat.{x}a", "chat.b{x}"),
        ("chat.{a:int}", "chat.{b} chat.7", "chat.lobby chat.{b:uuid}"),
        ("chat.{a:uuid}", "chat.{b:slug}", "chat.{b:int}"),
        ("chat.{a:str}", "chat.{b}.{c}", "chat"),
        ("{a:path}", "b.c.d", ""),
        ("chat.{a:word}", "chat.{b:int}", "chat.x-{b}"),
        # These match no character alone, so they count as any text.
        ("chat.{a:maybe}", "chat.{b:int}", ""),
        ("chat.{a:year}", "chat.{b:int} chat.2026 chat.12345", "chat"),
    ],
)
def test_overlap(first: str, overlapping: str, others: str) -> None:
    """Two patterns share a name or do not, in either order. If they do, it is returned."""
    for both, seconds in ((True, overlapping), (False, others)):
        for second in seconds.split():
            for one, other in ((first, second), (second, first)):
                example = Pattern(one).overlap(Pattern(other))
                assert (example is not None) is both
                assert example is None or is_channel_name(example)


_PARTS = st.sampled_from(["a", "b", ".", "-", "1", "{x}", "{y:int}", "{z:slug}"])


@given(st.lists(_PARTS, min_size=1, max_size=5), st.lists(_PARTS, min_size=1, max_size=5))
def test_an_overlap_is_a_name_that_both_match(first: list[str], second: list[str]) -> None:
    """Where there is none, no short name matches both."""
    try:
        one, other = Pattern("".join(first)), Pattern("".join(second))
    except ImproperlyConfigured:
        return  # The same parameter twice, or two side by side.
    example = one.overlap(other)
    if example is not None:
        assert one.match(example) is not None
        assert other.match(example) is not None
    else:
        for text in ("".join(first), "".join(second)):
            name = re.sub(r"\{[^}]*\}", "1", text)
            assert one.match(name) is None or other.match(name) is None

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
        "odd": r"[a\]b]",
    }
    own: dict[str, object] = {name: TextConverter(regex) for name, regex in regexes.items()}
    own["even"] = EvenConverter()
    monkeypatch.setattr(converters, "REGISTERED_CONVERTERS", own)
    forget = converters.get_converters.cache_clear  # type: ignore[attr-defined]  # not in the stubs
    forget()
    yield
    forget()


@pytest.mark.parametrize(
    ("channel", "bare"),
    [
        ("private-chat.1", "chat.1"),
        ("presence-chat.1", "chat.1"),
        ("private-encrypted-chat.1", "chat.1"),
        ("private-cache-chat.1", "chat.1"),
        ("presence-cache-chat.1", "chat.1"),
        ("private-encrypted-cache-chat.1", "chat.1"),
        # Exactly one prefix is taken off.
        ("private-encrypted-private-123", "private-123"),
        ("private-private-123", "private-123"),
        ("presence-encrypted-x", "encrypted-x"),
        ("private-cache-encrypted-x", "encrypted-x"),
        ("private-presence-x", "presence-x"),
        ("private-", ""),
        ("private-encrypted-", ""),
        ("chat.1", None),
        ("cache-chat.1", None),
        ("not-private-chat.1", None),
        ("Private-chat.1", None),
    ],
)
def test_one_prefix_is_taken_off(channel: str, bare: str | None) -> None:
    """One pattern serves every kind of channel; public ones have no rules."""
    assert bare_name(channel) == bare


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        # What Laravel's tests ask for, where the protocol allows the name.
        ("something", "something", {}),
        ("something.{id}.test.{id2}", "something.23.test.42", {"id": "23", "id2": "42"}),
        ("something-{id}=test-{id2}", "something-23=test-42", {"id": "23", "id2": "42"}),
        ("something.{id}.test", "something..test", None),
        ("something.{id}", "something.", None),
        ("something.{id}", "something.23.test", None),
        ("something.{id}", "something.23.", None),
        ("something.{id}", "another.something.23", None),
        ("something.{id}", "notsomething.23", None),
        ("something", "something.23", None),
        # Everything but a parameter stands for itself.
        ("chat.1", "chat.1", {}),
        ("chat.1", "chatx1", None),
        ("a.{x}", "A.1", None),
        ("{room}", "lobby", {"room": "lobby"}),
        ("{room}", "lobby.1", None),
        ("{a}-{b}", "x-y-z", {"a": "x-y", "b": "z"}),
        ("{room}.chat", "x.chat", {"room": "x"}),
        ("chat.{room}", "chat.a_b-c@d=e,f;g", {"room": "a_b-c@d=e,f;g"}),
        # Converters.
        ("chat.{id:int}", "chat.7", {"id": 7}),
        ("chat.{id:int}", "chat.007", None),  # Events go to chat.7.
        ("chat.{id:int}", "chat.0", {"id": 0}),
        ("chat.{id:int}", "chat.-7", None),
        ("chat.{id:int}", "chat.7_0", None),
        ("chat.{id:int}", "chat.x", None),
        ("chat.{id:slug}", "chat.a-b_c", {"id": "a-b_c"}),
        ("chat.{id:slug}", "chat.a@b", None),
        ("chat.{id:uuid}", f"chat.{KEY}", {"id": UUID(KEY)}),
        ("chat.{id:uuid}", f"chat.{KEY[:-1]}", None),
        ("chat.{all:path}", "chat.a.b.c", {"all": "a.b.c"}),
        ("chat.{all:str}.end", "chat.a.b.end", {"all": "a.b"}),
        ("chat.{n:even}", "chat.8", {"n": 8}),
        ("chat.{n:even}", "chat.7", None),
        ("chat.{a:maybe}", "chat.yes", {"a": "yes"}),
        ("chat.{a:maybe}", "chat.", None),
    ],
)
def test_match(pattern: str, name: str, expected: Mapping[str, object] | None) -> None:
    """The whole name is matched, and a parameter is never empty."""
    assert Pattern(pattern).match(name) == expected


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", "must be text"),
        (None, "must be text"),
        (7, "must be text"),
        ("private-chat.{room}", "must not begin with"),
        ("presence-chat", "must not begin with"),
        ("private-encrypted-chat", "must not begin with"),
        ("cache-chat", "must not begin with"),
        ("chat:{room}", "contains 'chat:'"),
        ("chat/{room}", "contains 'chat/'"),
        ("chat.{room", r"contains 'chat.{room'"),
        ("chat.room}", r"contains 'chat.room}'"),
        ("chat.{{room}}", "contains"),
        ("chat.*", "contains"),
        ("chat.é", "contains"),
        ("chat.\n", "contains"),
        ("x" * 201, "up to 200"),
        ("chat.{}", "not a name in Python"),
        ("chat.{7}", "not a name in Python"),
        ("chat.{a b}", "not a name in Python"),
        ("chat.{class}", "not a name in Python"),
        ("chat.{é}", "not a name in Python"),
        ("chat.{a}.{a}", "'a' twice"),
        ("chat.{a}{b}", "nothing between"),
        ("chat.{a}-{b}-{c}", "more than 2 parameters"),
        ("{a}x{b}x{c}.{d}", "more than 2 parameters"),
        ("chat.{id:number}", "path converter 'number'. Known: broken, even, int"),
        ("chat.{id:}", "path converter ''"),
        ("chat.{id:broken}", "does not fit"),
    ],
)
def test_what_can_never_match_is_refused(pattern: str, text: str) -> None:
    """When it is written, with the reason and the pattern itself."""
    with pytest.raises(ImproperlyConfigured, match=re.escape(text)) as caught:
        Pattern(pattern)
    assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("chat.{room}", "chat.{room}", True),
        ("chat.{room}", "chat.lobby", True),
        ("chat.{room}", "{kind}.lobby", True),
        ("{room}", "lobby", True),
        ("chat.{a}-{b}", "chat.{c}", True),
        ("{a}-{b}.{c}-{d}", "{e}.{f}", True),
        ("chat.{a:int}-{b}-{c:int}-{d}", "chat.{e}", True),
        ("chat.{a}x", "chat.y{b}", True),
        ("chat.{a:int}", "chat.{b}", True),
        ("chat.{a:int}", "chat.7", True),
        ("chat.{a:year}", "chat.{b:int}", True),
        ("chat.{a:year}", "chat.2026", True),
        ("chat.{a:uuid}", "chat.{b:slug}", True),
        ("chat.{a:str}", "chat.{b}.{c}", True),
        ("{a:path}", "b.c.d", True),
        ("chat.{a:word}", "chat.{b:int}", True),
        # Read as anything, since it is too involved.
        ("chat.{a:maybe}", "chat.{b:int}", True),
        ("chat.{a:odd}", "chat.{b:int}", True),
        ("chat.{room}", "chat.{room}.typing", False),
        ("chat.{room}", "chats.{room}", False),
        ("chat.{room}", "room.{chat}", False),
        ("chat.{room}", "chat", False),
        ("chat", "chat", True),
        ("chat", "chats", False),
        ("chat.a{x}", "chat.b{x}", False),
        ("chat.{x}a", "chat.{x}b", False),
        ("chat.{a:int}", "chat.lobby", False),
        ("chat.{a:int}", "chat.{b:uuid}", False),
        ("chat.{a:year}", "chat.12345", False),
        ("chat.{a:year}", "chat.{b:uuid}", False),
        ("chat.{a:word}", "chat.x-{b}", False),
        ("chat.{room}.x", "chat.{room}.y", False),
    ],
)
def test_overlap(first: str, second: str, both: bool) -> None:
    """Two patterns share a name or do not, whichever is asked; where they do, it is told."""
    for one, other in ((first, second), (second, first)):
        example = Pattern(one).overlap(Pattern(other))
        assert (example is not None) is both
        if example is not None:
            assert is_channel_name(example)


_PARTS = st.sampled_from(["a", "b", ".", "-", "1", "{x}", "{y:int}", "{z:slug}"])


@given(st.lists(_PARTS, min_size=1, max_size=5), st.lists(_PARTS, min_size=1, max_size=5))
def test_an_overlap_is_told_by_a_name_that_both_match(first: list[str], second: list[str]) -> None:
    """The name that is told matches both, and where none is told no short name does."""
    try:
        one, other = Pattern("".join(first)), Pattern("".join(second))
    except ImproperlyConfigured:
        return  # The same parameter twice, or two side by side.
    example = one.overlap(other)
    if example is not None:
        assert one.match(example) is not None
        assert other.match(example) is not None
    else:
        texts = ["".join(first), "".join(second)]
        for text in texts:
            name = re.sub(r"\{[^}]*\}", "1", text)
            assert one.match(name) is None or other.match(name) is None

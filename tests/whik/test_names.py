"""Names of rooms and people."""

from urllib.parse import unquote

import pytest
from django.core.exceptions import ValidationError
from django.urls import resolve, reverse

from whik.names import MAX_KEY, clean_nickname, clean_room_name, is_visible, key_of


@pytest.mark.parametrize(
    "name", ["lobby", "수다방", "Room 7", "a.b,c;d=e@f_g-h", "हिन्दी", "1", "ß"]
)
def test_room_name_is_readable_in_its_address(name: str) -> None:
    assert clean_room_name(name) == name
    assert resolve(unquote(reverse("room", args=[name]))).kwargs == {"name": name}


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".", "..", "a/b", "a?b", "a#b", "a%b", "<b>", "a\x00", "-x", "a\u202eb", "🙂"],
)
def test_other_room_names_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        clean_room_name(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Lobby", "lobby"),
        ("한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"),
        ("ａ b", "A  B"),
        ("ß", "SS"),
    ],
)
def test_names_that_look_the_same_have_one_key(one: str, other: str) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize("name", ["", " ", "\u200b", "a\u202eb", "a\x07", "\u0301"])
def test_nickname_must_be_visible(name: str) -> None:
    with pytest.raises(ValidationError, match="that others can see"):
        clean_nickname(name)


@pytest.mark.parametrize("name", ["Guest-7", "손님-7", "<b>", "🙂", "O'Neil"])
def test_other_nicknames_are_allowed(name: str) -> None:
    assert clean_nickname(name) == name


def test_names_are_limited() -> None:
    assert clean_room_name("가" * 40)
    with pytest.raises(ValidationError, match="at most 40 characters; this one has 41"):
        clean_room_name("가" * 41)
    with pytest.raises(ValidationError, match="at most 20 characters; this one has 21"):
        clean_nickname("a" * 21)
    assert len(key_of("\ufdfa" * 40)) == MAX_KEY  # Each becomes eighteen letters.


def test_spaces_are_tidied() -> None:
    assert clean_room_name("  a \t  b ") == "a b"
    assert clean_nickname(" 김\n민수 ") == "김 민수"


@pytest.mark.parametrize(("text", "visible"), [("a", True), ("\u200b\n", False), ("🙂", True)])
def test_visible_text(text: str, visible: bool) -> None:
    assert is_visible(text) is visible

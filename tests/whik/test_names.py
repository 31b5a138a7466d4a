"""What rooms and people may be called."""

from urllib.parse import unquote

import pytest
from django.core.exceptions import ValidationError
from django.urls import resolve, reverse

from whik.names import MAX_KEY, clean_nickname, clean_room_name, is_visible, key_of


@pytest.mark.parametrize(
    "name", ["lobby", "수다방", "Room 7", "a.b,c;d=e@f_g-h", "हिन्दी", "1", "ß"]
)
def test_room_name_is_readable_in_its_address(name: str) -> None:
    """What is allowed comes back from the address as it was."""
    assert clean_room_name(name) == name
    assert resolve(unquote(reverse("room", args=[name]))).kwargs == {"name": name}


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".", "..", "a/b", "a?b", "a#b", "a%b", "<b>", "a\x00", "-x", "a\u202eb", "🙂"],
)
def test_other_room_names_are_refused(name: str) -> None:
    """Nothing that ends an address, or that nobody can read."""
    with pytest.raises(ValidationError):
        clean_room_name(name)


def test_long_room_name_is_told_by_how_much() -> None:
    """Whoever wrote it knows what to cut."""
    assert clean_room_name("가" * 40)
    with pytest.raises(ValidationError, match="at most 40 characters; this one has 41"):
        clean_room_name("가" * 41)


def test_spaces_are_tidied() -> None:
    """Around the name none stay, within it one."""
    assert clean_room_name("  a \t  b ") == "a b"
    assert clean_nickname(" 김\n민수 ") == "김 민수"


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
    """Case, width, spacing and the keyboard's way of writing a syllable make no difference."""
    assert key_of(one) == key_of(other)


def test_key_fits_its_column() -> None:
    """There is a letter that is written out as eighteen."""
    assert len(key_of("\ufdfa" * 40)) == MAX_KEY


@pytest.mark.parametrize("name", ["", " ", "\u200b", "a\u202eb", "a\x07", "\u0301"])
def test_nickname_must_be_seen(name: str) -> None:
    """No empty one, and none that turns the text around it."""
    with pytest.raises(ValidationError, match="that others can see"):
        clean_nickname(name)


@pytest.mark.parametrize("name", ["Guest-7", "손님-7", "<b>", "🙂", "O'Neil"])
def test_nickname_may_hold_anything_visible(name: str) -> None:
    """Pages show it as text."""
    assert clean_nickname(name) == name


def test_long_nickname_is_told_by_how_much() -> None:
    """As with rooms."""
    with pytest.raises(ValidationError, match="at most 20 characters; this one has 21"):
        clean_nickname("a" * 21)


@pytest.mark.parametrize(("text", "visible"), [("a", True), ("\u200b\n", False), ("🙂", True)])
def test_visible_text(text: str, visible: bool) -> None:
    """A message of nothing but invisible characters is empty."""
    assert is_visible(text) is visible

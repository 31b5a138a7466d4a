"""Names of rooms, people and things: which are allowed, and which count as the same."""

import re
import unicodedata

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

MAX_ROOM_NAME = 40
MAX_NICKNAME = 20
MAX_THING_NAME = 40
MAX_KEY = 120

# Besides letters and digits of every script. None of them has a meaning in a URL.
_IN_ROOM_NAMES = " _-=@,.;"


def key_of(name: str) -> str:
    """Return a key that is equal for names that look the same."""
    # Cut, since one letter may become eighteen.
    return unicodedata.normalize("NFKC", _tidy(name)).casefold()[:MAX_KEY]


def clean_room_name(text: str) -> str:
    """
    Return the name of a room as it is stored.

    Raises:
        ValidationError: It is empty, too long, or has other characters than are allowed.
    """
    name = _tidy(text)
    if not name:
        raise ValidationError(_("Give the room a name."))
    if len(name) > MAX_ROOM_NAME:
        raise ValidationError(
            _("A room's name has at most {limit} characters; this one has {count}.").format(
                limit=MAX_ROOM_NAME, count=len(name)
            )
        )
    # The rule for the first character excludes "." and "..".
    if not _is_letter(name[0]) or not all(_is_letter(c) or c in _IN_ROOM_NAMES for c in name):
        raise ValidationError(
            _(
                "A room's name starts with a letter or digit. After that it may also have spaces "
                "and _ - = @ , . ;"
            )
        )
    return name


def clean_nickname(text: str) -> str:
    """
    Return a nickname as it is stored.

    Raises:
        ValidationError: It is empty, too long, or has invisible characters.
    """
    return _clean_visible(text, MAX_NICKNAME)


def clean_thing_name(text: str) -> str:
    """
    Return the name of a thing as it is stored.

    Raises:
        ValidationError: As for `clean_nickname`.
    """
    return _clean_visible(text, MAX_THING_NAME)


def is_visible(text: str) -> bool:
    """Whether `text` has a visible character."""
    return any(unicodedata.category(c)[0] not in "CMZ" for c in text)


def _clean_visible(text: str, limit: int) -> str:
    name = _tidy(text)
    # Control characters also change the direction of text.
    if not is_visible(name) or any(unicodedata.category(c)[0] == "C" for c in name):
        raise ValidationError(_("Give a name that others can see."))
    if len(name) > limit:
        raise ValidationError(
            _("A name has at most {limit} characters; this one has {count}.").format(
                limit=limit, count=len(name)
            )
        )
    return name


def _tidy(text: str) -> str:
    # Some keyboards send 한 as three letters; this makes one syllable of them.
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"

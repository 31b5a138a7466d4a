"""
Patterns of channel names: which channels a rule is for, and the values in their names.

A pattern is written without the prefix of a kind, so one pattern serves the private, the
presence and the encrypted channel of a name. ``{room}`` matches what stands between two
dots, ``{room:int}`` what a path converter of Django matches; everything else matches
itself. The whole name must match.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from keyword import iskeyword
from string import ascii_letters, digits, hexdigits

from django.core.exceptions import ImproperlyConfigured
from django.urls.converters import get_converters

from ..protocol.names import MAX_CHANNEL_LENGTH, is_channel_name, is_guarded

# The longer ones first: exactly one is removed.
_KINDS = (
    "private-encrypted-cache-",
    "private-encrypted-",
    "private-cache-",
    "presence-cache-",
    "private-",
    "presence-",
)
_NEVER_LEFT = ("private-", "presence-", "cache-")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_BETWEEN_DOTS = r"[^.]+"
_UUID = (8, 4, 4, 4, 12)  # Digits between its hyphens.
# A regular expression tries every way to spread a name over them.
MAX_BETWEEN_DOTS = 2
# The characters of channel names, in the order that examples prefer.
_ALPHABET = digits[1:] + "0" + ascii_letters + "-_.,=@;"
# The characters that may stand at a place, and whether more of them may follow.
_Place = tuple[frozenset[str], bool]


def bare_name(channel: str) -> str | None:
    """Return a guarded channel's name without the prefix of its kind, `None` for others."""
    if not is_guarded(channel):
        return None
    return channel.removeprefix(next(kind for kind in _KINDS if channel.startswith(kind)))


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    One ``{name}`` or ``{name:converter}``.

    `convert` raises `ValueError` for a text that the parameter does not match. `spell`
    returns the one text of a value, or raises `ValueError`; it is `None` if unknown.
    """

    name: str
    converter: str | None
    regex: str
    convert: Callable[[str], object]
    spell: Callable[[object], str] | None


@dataclass(frozen=True)
class Pattern:
    """
    The form of a channel's name.

    Raises:
        ImproperlyConfigured: `text` can never match, or is ambiguous.
    """

    text: str
    parts: tuple[str | Parameter, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(_parts(self.text)))
        _ = self._regex  # Compiled here, so that a mistake is raised here.

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters from left to right."""
        return tuple(part for part in self.parts if isinstance(part, Parameter))

    def match(self, name: str) -> Mapping[str, object] | None:
        """Return the parameters' values if `name`, a bare one, matches, else `None`."""
        match = self._regex.fullmatch(name)
        if match is None:
            return None
        values = {}
        for parameter in self.parameters:
            text = match[parameter.name]
            if not text:  # A converter's expression may match the empty text.
                return None
            try:
                value = values[parameter.name] = parameter.convert(text)
                # `chat.007` is another channel than `chat.7`, to which events are sent.
                if parameter.spell is not None and parameter.spell(value) != text:
                    return None
            except ValueError:
                return None
        return values

    def overlap(self, other: "Pattern") -> str | None:
        """
        Return a name that both patterns may match, `None` if there is none.

        A converter counts as one that matches any text of the characters that it matches
        alone, or any text at all if there are none; ``uuid`` is known.
        """
        ours, theirs = self._places, other._places
        # Names that lead both patterns to the same places are alike from there on.
        seen = {(0, 0)}
        states = deque([(0, 0, "")])
        while states:
            i, j, name = states.popleft()
            if (i, j) == (len(ours), len(theirs)):
                return name
            if i == len(ours) or j == len(theirs):
                continue
            (a, a_repeats), (b, b_repeats) = ours[i], theirs[j]
            character = next((c for c in _ALPHABET if c in a and c in b), "")
            if not character:
                continue
            for x in (i + 1, i) if a_repeats else (i + 1,):
                for y in (j + 1, j) if b_repeats else (j + 1,):
                    if (x, y) not in seen:
                        seen.add((x, y))
                        states.append((x, y, name + character))
        return None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        pieces = (
            re.escape(part) if isinstance(part, str) else f"(?P<{part.name}>{part.regex})"
            for part in self.parts
        )
        try:
            return re.compile("".join(pieces))
        except re.error as exc:
            raise _bad(self.text, f"has a converter whose expression does not fit: {exc}") from exc

    @cached_property
    def _places(self) -> list[_Place]:
        return [place for part in self.parts for place in _places_of(part)]


def _parts(text: object) -> Iterator[str | Parameter]:
    if not isinstance(text, str) or not text:
        raise _bad(text, 'must be text such as "chat.{room}"')
    if text.startswith(_NEVER_LEFT):
        raise _bad(
            text,
            "must not begin with private-, presence- or cache-: the prefix of its kind is removed "
            "from a channel's name before the pattern is matched",
        )
    pieces = _PLACEHOLDER.split(text)
    names: set[str] = set()
    ambiguous = 0  # Parameters without a converter since the last dot.
    for index, piece in enumerate(pieces):
        if index % 2:
            parameter = _parameter(piece, text)
            if parameter.name in names:
                raise _bad(text, f"has the parameter {parameter.name!r} twice")
            names.add(parameter.name)
            ambiguous += parameter.converter is None
            if ambiguous > MAX_BETWEEN_DOTS:
                raise _bad(
                    text,
                    f"has more than {MAX_BETWEEN_DOTS} parameters without a converter between two "
                    f"dots; matching them could take very long. Separate them by dots, or add a "
                    f"converter: {{{parameter.name}:int}}",
                )
            yield parameter
        elif not piece and 0 < index < len(pieces) - 1:
            raise _bad(text, "has two parameters with nothing between them")
        elif piece:
            if not is_channel_name(piece):
                raise _bad(
                    text,
                    f"contains {piece!r}, which no channel's name does: use ASCII letters, digits, "
                    f"_ - = @ , . ; and {{parameters}}, up to {MAX_CHANNEL_LENGTH} characters",
                )
            if "." in piece:
                ambiguous = 0
            yield piece


def _parameter(written: str, text: str) -> Parameter:
    name, colon, kind = written.partition(":")
    if not (name.isidentifier() and name.isascii()) or iskeyword(name):
        raise _bad(text, f"has a parameter {{{written}}}, whose name is not a name in Python")
    if not colon:
        return Parameter(name, None, _BETWEEN_DOTS, str, str)
    converters = get_converters()
    if kind not in converters:
        raise _bad(
            text,
            f"uses the unknown path converter {kind!r}. Known: {', '.join(sorted(converters))}. "
            f"Register a converter of your own before the pattern",
        )
    converter = converters[kind]
    # Django requires `to_url` only where it reverses URLs.
    spell = getattr(converter, "to_url", None)
    return Parameter(name, kind, converter.regex, converter.to_python, spell)


def _bad(text: object, problem: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"The channel pattern {text!r} {problem}.")


def _places_of(part: str | Parameter) -> Iterable[_Place]:
    if isinstance(part, str):
        return [(frozenset(character), False) for character in part]
    if part.converter == "uuid":
        groups = [[(frozenset(hexdigits.lower()), False)] * length for length in _UUID]
        hyphen = (frozenset("-"), False)
        return [place for group in groups for place in (hyphen, *group)][1:]
    alone = frozenset(c for c in _ALPHABET if re.fullmatch(part.regex, c))
    return [(alone or frozenset(_ALPHABET), True)]

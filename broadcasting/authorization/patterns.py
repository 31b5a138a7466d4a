"""
Patterns of channel names: which channels a rule is for, and what it learns from them.

A pattern is written without the prefix of a kind, so that one serves the private, the
presence and the encrypted channel of a name. ``{room}`` takes what stands between two
dots, ``{room:int}`` what a path converter of Django takes; everything else stands for
itself. A pattern is matched against the whole name.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from keyword import iskeyword
from string import ascii_letters, digits

from django.core.exceptions import ImproperlyConfigured
from django.urls.converters import get_converters

from ..protocol.names import MAX_CHANNEL_LENGTH, is_channel_name, is_guarded

# The longer ones first: exactly one is taken off.
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
# A regular expression tries every way to spread a name over them, before anybody is asked.
MAX_BETWEEN_DOTS = 2
# What channel names are made of, in the order that examples prefer.
_ALPHABET = digits[1:] + "0" + ascii_letters + "-_.,=@;"
# A part of a converter's expression that is easy to read: what, and how often.
_PIECE = re.compile(
    r"(?P<what>\[\^?[^\]]+\]|\\[dw]|\.|[A-Za-z0-9_-])(?P<often>\+|\{(?P<count>[0-9]{1,3})\})?"
)

# Characters that may stand at a place, and whether more of them may follow.
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

    `convert` raises `ValueError` for a text that the parameter does not take, and so may
    `spell`, which returns the one text that stands for a value; `None` if nobody knows it.
    """

    name: str
    converter: str | None
    regex: str
    convert: Callable[[str], object]
    spell: Callable[[object], str] | None

    def is_spelt(self, text: str, value: object) -> bool:
        """Tell whether `text` is how `value` is written."""
        return self.spell is None or self.spell(value) == text


@dataclass(frozen=True)
class Pattern:
    """
    What the name of a channel must look like.

    Raises:
        ImproperlyConfigured: `text` could never match, or not say what it is meant to.
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
        # A converter may have been written so that it takes no character at all.
        if match is None or not all(match[parameter.name] for parameter in self.parameters):
            return None
        try:
            values = {p.name: p.convert(match[p.name]) for p in self.parameters}
            # `chat.007` is not another name for `chat.7`: a channel that no event goes to.
            if not all(p.is_spelt(match[p.name], values[p.name]) for p in self.parameters):
                return None
        except ValueError:
            return None
        return values

    def overlap(self, other: "Pattern") -> str | None:
        """
        Return a name that both patterns may match, `None` if there is none.

        Where a converter's expression is too involved to be read, it counts as one that
        takes anything.
        """
        ours, theirs = self._places, other._places
        # The names that lead both patterns to the same place are alike from there on.
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
            for state in [
                (x, y)
                for x in ((i + 1, i) if a_repeats else (i + 1,))
                for y in ((j + 1, j) if b_repeats else (j + 1,))
            ]:
                if state not in seen:
                    seen.add(state)
                    states.append((*state, name + character))
        return None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        try:
            return re.compile(
                "".join(
                    re.escape(part) if isinstance(part, str) else f"(?P<{part.name}>{part.regex})"
                    for part in self.parts
                )
            )
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
            "must not begin with the prefix of a kind, private-, presence- or cache-: it is taken "
            "off a channel's name before that is matched",
        )
    pieces = _PLACEHOLDER.split(text)
    names: set[str] = set()
    ambiguous = 0  # Parameters since the last dot that take whatever is between dots.
    for index, piece in enumerate(pieces):
        if index % 2:
            parameter = _parameter(piece, text)
            if parameter.name in names:
                raise _bad(text, f"names the parameter {parameter.name!r} twice")
            names.add(parameter.name)
            ambiguous += parameter.converter is None
            if ambiguous > MAX_BETWEEN_DOTS:
                raise _bad(
                    text,
                    f"has more than {MAX_BETWEEN_DOTS} parameters of any text between two dots, "
                    f"which a name could be spread over in very many ways. Part them by dots, or "
                    f"say what they take: {{{parameter.name}:int}}",
                )
            yield parameter
        elif not piece and 0 < index < len(pieces) - 1:
            raise _bad(text, "has two parameters with nothing between them")
        elif piece:
            if not is_channel_name(piece):
                raise _bad(
                    text,
                    f"holds {piece!r}, which no channel's name does: letters and digits of ASCII, "
                    f"_ - = @ , . ; and {{parameters}}, of up to {MAX_CHANNEL_LENGTH} characters",
                )
            if "." in piece:
                ambiguous = 0
            yield piece


def _parameter(written: str, text: str) -> Parameter:
    name, _, kind = written.partition(":")
    if not (name.isidentifier() and name.isascii()) or iskeyword(name):
        raise _bad(text, f"has a parameter {{{written}}}, whose name is no name in Python")
    if ":" not in written:
        return Parameter(name, None, _BETWEEN_DOTS, str, str)
    converters = get_converters()
    if kind not in converters:
        raise _bad(
            text,
            f"names the path converter {kind!r}. Known: {', '.join(sorted(converters))}. A "
            f"converter of your own must be registered before the pattern is",
        )
    converter = converters[kind]
    # Django asks for `to_url` only where addresses are made from values.
    spell = getattr(converter, "to_url", None)
    return Parameter(name, kind, converter.regex, converter.to_python, spell)


def _bad(text: object, problem: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"The channel pattern {text!r} {problem}.")


def _places_of(part: str | Parameter) -> Iterable[_Place]:
    if isinstance(part, str):
        return [(frozenset(character), False) for character in part]
    return _read_regex(part.regex) or [(frozenset(_ALPHABET), True)]


def _read_regex(regex: str) -> list[_Place]:
    """Return the places that an expression describes, none if it is not that simple."""
    places: list[_Place] = []
    end = 0
    while end < len(regex):
        piece = _PIECE.match(regex, end)
        if piece is None:
            return []
        try:
            one = re.compile(piece["what"])
        except re.error:
            return []
        characters = frozenset(c for c in _ALPHABET if one.fullmatch(c))
        places += [(characters, piece["often"] == "+")] * int(piece["count"] or 1)
        end = piece.end()
    return places

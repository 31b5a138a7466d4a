"""Single values of the settings: what each must be, and the error that says so."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

# What may stand in an HTTP header or in the target of a request as it is written.
VISIBLE = re.compile(r"[!-~]+")

# Takes a value and its name for error messages; returns the value to use.
Reader = Callable[[object, str], object]


def read_mapping(value: object, where: str, known: Collection[str] = ()) -> Mapping[str, Any]:
    """Return `value` if it is a dictionary, and has only `known` keys where those are given."""
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"{where} must be a dictionary, not {type(value).__name__}.")
    unknown = [str(key) for key in value if key not in known] if known else []
    if unknown:
        raise ImproperlyConfigured(
            f"{where} has unknown keys: {', '.join(sorted(unknown))}. "
            f"Known keys: {', '.join(known)}."
        )
    return value


def read_options(
    schema: type,
    value: object,
    where: str,
    own: Mapping[str, Reader] | None = None,
    without: Collection[str] = (),
) -> dict[str, Any]:
    """
    Return a dictionary of options as arguments of the dataclass `schema`.

    Each field but those of `without` is an option, in upper case, and is read as its
    annotation says, or by its reader in `own`, which may also name options that are no
    field. `None` stays `None` where it is the default.
    """
    own = own or {}
    options = {f.name.upper(): f for f in fields(schema) if f.name not in without}
    result = {}
    for name, item in read_mapping(value, where, dict.fromkeys([*options, *own])).items():
        f = options.get(name)
        read = own.get(name) or (f and _READERS.get(f.type))
        if read and not (item is None and (f is None or f.default is None)):
            item = read(item, f'{where}["{name}"]')
        result[name.lower()] = item
    return result


def checked(holds: object, value: Any, name: str, expected: str) -> Any:
    """Return `value` if the condition `holds`; otherwise raise what it must be."""
    if not holds:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be {expected}.")
    return value


def read_texts(value: object, name: str) -> tuple[str, ...]:
    """Return the texts of a list."""
    if not isinstance(value, list | tuple) or not all(isinstance(s, str) and s for s in value):
        # The value is not repeated: it may hold secrets.
        raise ImproperlyConfigured(f"{name} must be a list of non-empty texts.")
    return tuple(value)


def read_text(value: object, name: str) -> Any:
    """Return `value`, which must be text."""
    return checked(isinstance(value, str), value, name, "text")


def read_name(value: object, name: str) -> Any:
    """Return `value`, which must be text and not empty."""
    return checked(isinstance(value, str) and value, value, name, "text, and not empty")


def read_cache(value: object, name: str) -> Any:
    """Return `value`, which must be an alias in ``CACHES``."""
    holds = isinstance(value, str) and value in django_settings.CACHES
    return checked(holds, value, name, "an alias in CACHES")


def read_count(value: object, name: str, least: int = 1) -> Any:
    """Return `value`, which must be a whole number of at least `least`."""
    # A bool is an int, and True seconds is a typing error.
    holds = type(value) is int and value >= least
    return checked(holds, value, name, f"a whole number, {least} or more")


def _boolean(value: object, name: str) -> Any:
    return checked(isinstance(value, bool), value, name, "True or False")


def _seconds(value: Any, name: str) -> Any:
    holds = type(value) in (int, float) and 0 <= value < math.inf
    return checked(holds, value, name, "a number of seconds, 0 or more")


def _several_seconds(value: Any, name: str) -> tuple[float, ...]:
    holds = isinstance(value, list | tuple) and value
    checked(holds, value, name, "a list of seconds, such as [1, 5, 15]")
    return tuple(_seconds(item, name) for item in value)


_READERS: Mapping[object, Reader] = {
    bool: _boolean,
    int: read_count,
    int | None: read_count,
    str: read_text,
    float: _seconds,
    tuple[float, ...]: _several_seconds,
    tuple[str, ...]: read_texts,
}

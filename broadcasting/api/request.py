"""A request of the HTTP API: as it came, where it leads, and as it is once its sender is known."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from ..applications import Application
from ..protocol.names import is_channel_name

# Parameters that belong to the signature.
SIGNED = ("auth_key", "auth_timestamp", "auth_version", "auth_signature")
SIGNATURE_PARAMETERS = frozenset((*SIGNED, "body_md5"))

# PHP's SDK sends a list as info[0]=a&info[1]=b, and signs info=a,b.
_ITEM = re.compile(r"(.+)\[([0-9]*)\]", re.ASCII)
# Reading more before anybody has signed would let a long address hold up the loop.
_LONGEST_CALL = 3  # Parts: channels/<name>/users.
_MOST_PARAMETERS = 100
_SHOWN = 100  # Characters of a bad value that an answer repeats.


class ApiError(Exception):
    """Raised for a request that is answered with `status` and a reason."""

    def __init__(self, status: int, reason: str, *, allow: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.allow = allow


class Gone(Exception):
    """Raised when the caller has left before the end of the request."""


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request as it came, whichever server took it.

    Attributes:
        raw_path: The path before percent-decoding, without the query.
        query: The query string before decoding.
        headers: By name, in lower case.
        address: The client's IP address, `None` if it is not known.
        read: Returns the body, `None` if it has more than the given number of bytes;
            raises `Gone`. It is called once at most.
    """

    method: str
    raw_path: str
    query: str
    read: Callable[[int], Awaitable[bytes | None]]
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """
    A path that leads to a call.

    Attributes:
        app_id: The application that the path names, `None` if it names none.
        call: What follows, percent-decoded: ``("channels", "x", "users")``.
        paths: What the signature may have been made for, the likeliest first.
    """

    app_id: str | None
    call: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """
    A request whose signature is right.

    Attributes:
        call: As of `Address`.
        parameters: Those of the query that do not belong to the signature.
    """

    app: Application
    call: tuple[str, ...]
    parameters: Mapping[str, str]
    body: bytes
    signature: str = field(repr=False)

    def forbid_others(self, *known: str) -> None:
        """Raise `ApiError` for a parameter that is not `known`: ignoring it would mislead."""
        if others := sorted(set(self.parameters).difference(known)):
            names = ", ".join(map(shown, others))
            raise ApiError(400, f"The following query string parameters are extraneous: {names}")


def find_address(raw_path: str, is_call: Callable[[Sequence[str]], bool]) -> Address | None:
    """
    Return where `raw_path` leads, `None` if nowhere.

    The last ``/apps/<id>/`` that a call follows counts: what comes before is the prefix
    under which the API is mounted, and may hold an ``/apps/`` too. The SDK for Python
    leaves ``/apps/<id>`` out where it ends a user's connections.
    """
    raw = raw_path.split("/")
    parts = [unquote(part) for part in raw]
    for start in range(len(parts) - 3, max(0, len(parts) - 3 - _LONGEST_CALL), -1):
        if parts[start] == "apps" and is_call(parts[start + 2 :]):
            call = tuple(parts[start + 2 :])
            return Address(parts[start + 1], call, _signed_paths(raw, start))
    call = tuple(parts[-3:])
    if len(parts) > 3 and call[0] == "users" and is_call(call):
        return Address(None, call, _signed_paths(raw, len(raw) - 3))
    return None


def _signed_paths(raw: list[str], start: int) -> tuple[str, ...]:
    # A server on the way may have escaped what the SDK did not; and an SDK may sign the
    # prefix, though most do not.
    inner, whole = "/" + "/".join(raw[start:]), "/".join(raw)
    return tuple(dict.fromkeys((inner, unquote(inner), whole, unquote(whole))))


def parse_query(query: str) -> dict[str, str]:
    """Return the decoded parameters, their names in lower case, the items of a list joined."""
    lists: dict[str, list[str]] = {}
    seen: set[str] = set()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise ApiError(
            400, f"The query string has more than {_MOST_PARAMETERS} parameters"
        ) from None
    for key, value in pairs:
        name = key.lower()
        item = _ITEM.fullmatch(name)
        if item is not None and item[1] not in SIGNATURE_PARAMETERS:
            is_twice = (item[2] and name in seen) or item[1] in seen
            lists.setdefault(item[1], []).append(value)
        else:
            is_twice = name in lists
            lists.setdefault(name, []).append(value)
        if is_twice:
            raise ApiError(400, f"The query string gives {shown(key)} twice")
        seen.add(name)
    return {name: ",".join(values) for name, values in lists.items()}


def check_channel_name(app: Application, name: object) -> str:
    """Return `name` if a channel of `app` may have it. Raise `ApiError` otherwise."""
    if not is_channel_name(name):
        raise ApiError(400, f"{shown(name)} is not a valid channel name")
    if len(name) > app.max_channel_name_length:
        raise ApiError(
            400,
            f"{shown(name)} is not a valid channel name: it may have "
            f"{app.max_channel_name_length} characters",
        )
    return name


def shown(value: object) -> str:
    """Return `value` as an answer may repeat it: short and encodable."""
    text = value if isinstance(value, str) else repr(value)
    return quoted(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")


def quoted(text: str) -> str:
    """Return `text` in quotes, encodable even where it holds lone surrogates."""
    return json.dumps(text, ensure_ascii=False).encode(errors="backslashreplace").decode()

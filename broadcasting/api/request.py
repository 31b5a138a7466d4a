"""
A request of the HTTP API: where it leads, who signed it, and what it says beside its body.

The rules are those of Pusher's "HTTP API reference", "Authentication", and of what its
SDKs make of them: they sign the path as they wrote it, every parameter they sent, and
the values before encoding.
"""

import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from ..applications import Application, find_application
from ..conf import get_settings
from ..protocol.names import is_channel_name
from ..protocol.signatures import body_md5, request_text, verify

TIMESTAMP_WINDOW = 600  # Seconds, in both directions.

_SIGNED = ("auth_key", "auth_timestamp", "auth_version", "auth_signature")
_NOT_OWN = {*_SIGNED, "body_md5"}
# PHP's SDK sends a list as info[0]=a&info[1]=b, and signs info=a,b.
_ITEM = re.compile(r"(.+)\[([0-9]*)\]", re.ASCII)
# Looking at more, before anybody has signed, would let a long address hold up the loop.
_LONGEST_CALL = 3  # Parts: channels/<name>/users.
_MOST_PARAMETERS = 100
_SHOWN = 100  # Characters of a bad value that an answer repeats.
_SHOWN_SIGNED = 2_000  # Of what should have been signed: the most useful answer there is.


class ApiError(Exception):
    """A request that is answered with `status` and the reason."""

    def __init__(self, status: int, reason: str, *, allow: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.allow = allow


@dataclass(frozen=True, slots=True)
class Address:
    """
    A path that leads to a call.

    Attributes:
        app_id: As it stands in the path, `None` if no application does.
        call: What follows, percent-decoded: ``("channels", "x", "users")``.
        paths: What its signature may have been made for, the likeliest first.
    """

    app_id: str | None
    call: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request whose signature has been checked.

    Attributes:
        call: As of `Address`.
        parameters: Those of the query that do not belong to the signature.
        signature: The signature itself, which is right.
    """

    app: Application
    call: tuple[str, ...]
    parameters: Mapping[str, str]
    body: bytes
    signature: str = field(repr=False)

    def forbid_others(self, known: Sequence[str] = ()) -> None:
        """Raise `ApiError` if a parameter is none of `known`: to overlook it would mislead."""
        others = sorted(name for name in self.parameters if name not in known)
        if others:
            names = ", ".join(shown(name) for name in others)
            raise ApiError(400, f"The following query string parameters are extraneous: {names}")


ReadBody = Callable[[int], Awaitable[bytes | None]]


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


async def read_request(
    method: str,
    address: Address,
    query: str,
    max_body: Callable[[Application], int],
    read: ReadBody,
) -> Request:
    """
    Return the request, or raise `ApiError`.

    The body is read last, of a caller who has signed, and no more of it than counts.
    """
    parameters = _parameters(query)
    app = _application(address, parameters)
    _authenticate(app, method, address, parameters)
    if not app.enabled:
        raise ApiError(403, f"Application {app.id} is disabled")
    limit = max_body(app)
    body = await read(limit)
    if body is None or len(body) > limit:
        raise ApiError(413, f"Payload too large: the body may have {limit} bytes")
    _check_body(parameters, body)
    own = {name: value for name, value in parameters.items() if name not in _NOT_OWN}
    return Request(app, address.call, own, body, parameters["auth_signature"])


def check_channel_name(app: Application, name: object) -> str:
    """Return `name` if it may name a channel of `app`. Raise `ApiError` otherwise."""
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
    """Return `value` as an answer may repeat it: short, and encodable whatever it holds."""
    text = value if isinstance(value, str) else repr(value)
    return _encodable(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")


def _encodable(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.encode(errors="backslashreplace").decode()


def _signed_paths(raw: list[str], start: int) -> tuple[str, ...]:
    # A server on the way may have escaped what the SDK did not; and an SDK may sign the
    # prefix, though most do not.
    inner, whole = "/" + "/".join(raw[start:]), "/".join(raw)
    return tuple(dict.fromkeys((inner, unquote(inner), whole, unquote(whole))))


def _parameters(query: str) -> dict[str, str]:
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
        if item is not None and item[1] not in _NOT_OWN:
            is_twice = (item[2] and name in seen) or item[1] in seen
            lists.setdefault(item[1], []).append(value)
        else:
            is_twice = name in lists
            lists.setdefault(name, []).append(value)
        if is_twice:
            raise ApiError(400, f"The query string gives {shown(key)} twice")
        seen.add(name)
    return {name: ",".join(values) for name, values in lists.items()}


def _application(address: Address, parameters: Mapping[str, str]) -> Application:
    apps = get_settings().apps
    if address.app_id is None:
        app = find_application(apps, key=parameters.get("auth_key", ""))
        if app is None:
            raise ApiError(401, "auth_key is no application's key")
        return app
    app = find_application(apps, app_id=address.app_id)
    if app is None:
        raise ApiError(404, f"There is no application {shown(address.app_id)}")
    return app


def _authenticate(
    app: Application, method: str, address: Address, parameters: Mapping[str, str]
) -> None:
    """Raise `ApiError` unless the request is `app`'s, fresh and unaltered."""
    missing = [name for name in _SIGNED if name not in parameters]
    if missing:
        raise ApiError(401, f"The query string has no {', '.join(missing)}")
    key = parameters["auth_key"].encode(errors="surrogatepass")
    if not hmac.compare_digest(key, app.key.encode()):
        raise ApiError(401, f"auth_key is not the key of application {app.id}")
    if parameters["auth_version"] != "1.0":
        raise ApiError(401, "auth_version must be 1.0")
    _check_time(parameters["auth_timestamp"])
    signature = parameters["auth_signature"]
    texts = [request_text(method, path, parameters) for path in address.paths]
    if not any(verify(app.secrets, text, signature) for text in texts):
        raise ApiError(
            401,
            f"Invalid signature: you should have sent HmacSHA256Hex("
            f"{_encodable(texts[0][:_SHOWN_SIGNED])}, your_secret_key), "
            f"but you sent {shown(signature)}",
        )


def _check_time(timestamp: str) -> None:
    now = int(time.time())
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20):
        raise ApiError(401, "auth_timestamp is not a number of seconds")
    if abs(int(timestamp) - now) > TIMESTAMP_WINDOW:
        raise ApiError(
            401,
            f"Timestamp expired: Given timestamp ({_utc(int(timestamp))}) not within "
            f"{TIMESTAMP_WINDOW}s of server time ({_utc(now)})",
        )


def _utc(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # Milliseconds, most likely.
        return str(seconds)


def _check_body(parameters: Mapping[str, str], body: bytes) -> None:
    given = parameters.get("body_md5")
    if given is None and body:
        raise ApiError(401, "The query string has no body_md5, but there is a body")
    if given is not None and given != body_md5(body):
        raise ApiError(401, "body_md5 is not the MD5 of the body in lower-case hex")

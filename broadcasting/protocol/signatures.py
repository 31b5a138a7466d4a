"""
Signatures of HTTP requests, of subscriptions and of users.

All are hex HMAC-SHA256 (Pusher, "HTTP API reference", "Authentication"; "Auth
signatures"). No signed text has a colon inside its parts, except in the last one, so no
two requests share a text.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from .errors import Unauthorized

_AUTH = re.compile(r"([^:]*):([0-9a-f]{64})")


class Credentials(Protocol):
    """
    Who signs, and whose signatures count.

    The first of the `secrets` signs. The others still count while they are retired.
    """

    @property
    def key(self) -> str: ...
    @property
    def secrets(self) -> tuple[str, ...]: ...


def sign(secret: str, text: str) -> str:
    """Return the lower-case hex HMAC-SHA256 of `text`, both taken as UTF-8."""
    # A request may contain lone surrogates: its signature is wrong, and nothing is raised.
    message = text.encode(errors="surrogatepass")
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def verify(secrets: Iterable[str], text: str, signature: str) -> bool:
    """Return whether `signature` is that of `text`, in constant time for each secret."""
    # Bytes: compare_digest raises TypeError on text that is not ASCII.
    given = signature.encode(errors="surrogatepass")
    return any(hmac.compare_digest(sign(secret, text).encode(), given) for secret in secrets)


def sign_channel(
    app: Credentials, socket_id: str, channel: str, channel_data: str | None = None
) -> str:
    """
    Return the `auth` that lets one socket join one guarded channel.

    Check `socket_id` and `channel` first: with a colon in them, a signature for one thing
    would count for another. `channel_data` is signed, and must be sent, as it is.
    """
    text = _channel_text(socket_id, channel, channel_data)
    return f"{app.key}:{sign(app.secrets[0], text)}"


def sign_user(app: Credentials, socket_id: str, user_data: str) -> str:
    """Return the `auth` that lets one socket sign in as the user in `user_data`."""
    return f"{app.key}:{sign(app.secrets[0], _user_text(socket_id, user_data))}"


def check_channel(
    app: Credentials, auth: str, socket_id: str, channel: str, channel_data: str | None
) -> None:
    """Raise `Unauthorized` unless `auth` lets the socket join the channel."""
    _check(app, auth, _channel_text(socket_id, channel, channel_data))


def check_user(app: Credentials, auth: str, socket_id: str, user_data: str) -> None:
    """Raise `Unauthorized` unless `auth` lets the socket sign in with `user_data`."""
    _check(app, auth, _user_text(socket_id, user_data))


def request_text(method: str, path: str, query: Mapping[str, str]) -> str:
    """
    Return the text that a request's signature covers.

    `path` is the path without its query. `query` has the decoded parameters; all but
    ``auth_signature`` are signed.
    """
    parameters = sorted((key.lower(), value) for key, value in query.items())
    signed = "&".join(f"{key}={value}" for key, value in parameters if key != "auth_signature")
    return f"{method.upper()}\n{path}\n{signed}"


def sign_request(
    app: Credentials,
    method: str,
    path: str,
    body: bytes,
    timestamp: int,
    query: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """
    Return the query of a request made at `timestamp` (Unix s), with its signature.

    `query` has the request's own parameters, before they are encoded.
    """
    signed = {
        **(query or {}),
        "auth_key": app.key,
        "auth_timestamp": str(timestamp),
        "auth_version": "1.0",
        "body_md5": body_md5(body),
    }
    signature = sign(app.secrets[0], request_text(method, path, signed))
    return signed | {"auth_signature": signature}


def body_md5(body: bytes) -> str:
    """Return the hash that the protocol asks for. It protects no secret."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _channel_text(socket_id: str, channel: str, channel_data: str | None) -> str:
    text = f"{socket_id}:{channel}"
    return text if channel_data is None else f"{text}:{channel_data}"


def _user_text(socket_id: str, user_data: str) -> str:
    return f"{socket_id}::user::{user_data}"


def _check(app: Credentials, auth: str, text: str) -> None:
    match = _AUTH.fullmatch(auth)
    if match is None:
        raise Unauthorized("Invalid format: auth must have the format key:signature")
    key, signature = match.groups()
    # The key is public, but is compared in constant time like everything here.
    if not hmac.compare_digest(key.encode(errors="surrogatepass"), app.key.encode()):
        raise Unauthorized("Invalid key in subscription auth data")
    if not verify(app.secrets, text, signature):
        raise Unauthorized("Invalid signature")

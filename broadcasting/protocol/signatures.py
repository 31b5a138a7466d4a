"""Signatures of HTTP API requests (Pusher, "HTTP API reference", "Authentication")."""

import hashlib
import hmac
from collections.abc import Mapping


def sign(secret: str, text: str) -> str:
    """Return the lower-case hex HMAC-SHA256 of `text`, both taken as UTF-8."""
    # A request that is checked may hold lone surrogates: a wrong signature, no exception.
    message = text.encode(errors="surrogatepass")
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def verify(secret: str, text: str, signature: str) -> bool:
    """Tell, in constant time, whether `signature` is that of `text`."""
    # Bytes: compare_digest raises TypeError on text that is not ASCII.
    return hmac.compare_digest(
        sign(secret, text).encode(), signature.encode(errors="surrogatepass")
    )


def request_text(method: str, path: str, query: Mapping[str, str]) -> str:
    """
    Return the text that a request's signature covers.

    `path` is the path without its query; `query` the decoded parameters, of which
    ``auth_signature`` is left out and every other one is taken, present or not in
    the specification.
    """
    parameters = sorted((key.lower(), value) for key, value in query.items())
    signed = "&".join(f"{key}={value}" for key, value in parameters if key != "auth_signature")
    return f"{method.upper()}\n{path}\n{signed}"


def sign_request(
    key: str, secret: str, method: str, path: str, body: bytes, timestamp: int
) -> dict[str, str]:
    """Return the query parameters that authenticate a request made at `timestamp` (Unix s)."""
    query = {
        "auth_key": key,
        "auth_timestamp": str(timestamp),
        "auth_version": "1.0",
        "body_md5": body_md5(body),
    }
    return query | {"auth_signature": sign(secret, request_text(method, path, query))}


def body_md5(body: bytes) -> str:
    """Return the hash that the protocol asks for. It guards integrity, not secrecy."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()

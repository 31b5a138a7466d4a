"""
The signature of a request.

The rules are those of Pusher ("HTTP API reference", "Authentication") and of its SDKs.
These sign the path as they wrote it, every parameter that they sent, and values before
they are encoded.
"""

import hmac
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from ..applications import Application, find_application
from ..conf import get_settings
from ..protocol.signatures import body_md5, request_text, verify
from .request import (
    SIGNATURE_PARAMETERS,
    SIGNED,
    Address,
    ApiError,
    Request,
    SignedRequest,
    parse_query,
    quoted,
    shown,
)

TIMESTAMP_WINDOW = 600  # Seconds, in both directions.
_SHOWN_TEXT = 2_000  # Characters of the text to sign, the most useful part of a refusal.


async def check_signature(
    request: Request, address: Address, max_body: Callable[[Application], int]
) -> SignedRequest:
    """
    Return the request with its application. Raise `ApiError` unless its signature is right.

    The body is read last, once the caller is known, and no further than `max_body` bytes.
    """
    parameters = parse_query(request.query)
    app = _application(address, parameters)
    _authenticate(app, request.method, address, parameters)
    if not app.enabled:
        raise ApiError(403, f"Application {app.id} is disabled")
    limit = max_body(app)
    body = await request.read(limit)
    if body is None:
        raise ApiError(413, f"Payload too large: the body may have {limit} bytes")
    _check_body(parameters, body)
    others = {name: text for name, text in parameters.items() if name not in SIGNATURE_PARAMETERS}
    return SignedRequest(app, address.call, others, body, parameters["auth_signature"])


def _application(address: Address, parameters: Mapping[str, str]) -> Application:
    apps = get_settings().apps
    if address.app_id is None:
        app = find_application(apps, key=parameters.get("auth_key", ""))
        if app is None:
            raise ApiError(401, "auth_key is not the key of any application")
        return app
    app = find_application(apps, app_id=address.app_id)
    if app is None:
        raise ApiError(404, f"There is no application {shown(address.app_id)}")
    return app


def _authenticate(
    app: Application, method: str, address: Address, parameters: Mapping[str, str]
) -> None:
    """Raise `ApiError` unless the request comes from `app`, is fresh and has not been altered."""
    missing = [name for name in SIGNED if name not in parameters]
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
            f"{quoted(texts[0][:_SHOWN_TEXT])}, your_secret_key), "
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

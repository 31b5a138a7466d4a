"""
The signed HTTP API as a connection: our own server or any other that speaks it.

It only writes. Drivers whose bus ends at the process reach the one that serves with it.
"""

import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Unpack
from urllib.parse import urlencode, urlsplit

import urllib3

from ..exceptions import BroadcastError, PayloadError, PublisherBusy
from ..protocol.signatures import sign_request
from .base import DEFAULT_URL, Broadcaster, Common, Options, raise_refused
from .diagnosis import Diagnosis, clock_diagnosis

CHANNELS_PER_REQUEST = 100  # Pusher's limit.
REASON_LENGTH = 300  # Characters of a refusal that an error repeats.

_CLUSTER = re.compile(r"[a-z0-9-]+")
_HEADERS = {"Content-Type": "application/json", "User-Agent": "broadcasting"}


class PusherBroadcaster(Broadcaster):
    """
    Posts to ``/apps/<id>/events`` (Pusher, "HTTP API reference", "POST event").

    Args:
        url: ``http(s)://host[:port][/prefix]`` of the server.
        cluster: In place of `url`, the name of a cluster of Pusher's own, such as ``eu``.
        timeout: Seconds to wait for a connection, and for an answer.
        pool_size: The most connections. If all are in use, a thread waits up to `timeout`
            seconds for one.

    Raises:
        ValueError: A value makes no sense.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        cluster: str | None = None,
        timeout: float = 5.0,
        pool_size: int = 10,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.url = _server(url, cluster)
        self.timeout = _positive("TIMEOUT", timeout)
        self.pool_size = int(_positive("POOL_SIZE", pool_size, int))
        self._http, self._pid = self._make_pool(), os.getpid()

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        """Send one request per hundred channels."""
        refused: dict[str, BroadcastError] = {}
        for start in range(0, len(channels), CHANNELS_PER_REQUEST):
            names = list(channels[start : start + CHANNELS_PER_REQUEST])
            body = {"name": event, "data": data, "channels": names}
            if (socket_id := options.get("socket_id")) is not None:
                body["socket_id"] = socket_id
            path = f"/apps/{self.app.id}/events"
            try:
                response = self._ask("POST", path, json.dumps(body).encode())
            except BroadcastError as exc:  # No answer. The next request would get none either.
                refused |= dict.fromkeys(channels[start:], exc)
                break
            try:
                self._accepted(path, response)
            except BroadcastError as exc:
                refused |= _refused_alone(response, names) or dict.fromkeys(names, exc)
        raise_refused(refused, len(channels))

    def terminate_user_connections(self, user_id: str) -> None:
        self._request("POST", f"/users/{user_id}/terminate_connections", b"{}")

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """
        Return an answer of the server: ``get("/channels", {"info": "subscription_count"})``.

        Args:
            path: What follows ``/apps/<id>`` in the address.
            query: The parameters.

        Raises:
            BroadcastError: The server did not answer, or not with a JSON object.
        """
        answer = self._request("GET", path, b"", query)
        try:
            value = json.loads(answer)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BroadcastError(
                f"{self.url} answered something else than a JSON object: "
                f"{_printable(answer)}. Correct the connection's URL."
            )
        return value

    def diagnose(self) -> list[Diagnosis]:
        """Ask the server for its channels with a signed request."""
        subject, path = f"Server {self.url}", f"/apps/{self.app.id}/channels"
        began = time.perf_counter()
        try:
            response = self._ask("GET", path, b"")
        except BroadcastError as exc:
            return [Diagnosis("error", subject, str(exc))]
        took = time.perf_counter() - began
        found = [clock_diagnosis(subject, _clock(response) - time.time())]
        try:
            self._accepted(path, response)
        except BroadcastError as exc:
            found.append(Diagnosis("error", subject, str(exc)))
        else:
            text = f"It answers requests of application {self.app.id!r} in {took * 1000:.0f} ms."
            found.append(Diagnosis("ok", subject, text))
        return [each for each in found if each is not None]

    def close(self) -> None:
        self._http.clear()

    def _request(
        self, method: str, path: str, body: bytes, query: Mapping[str, str] | None = None
    ) -> bytes:
        path = f"/apps/{self.app.id}{path}"
        return self._accepted(path, self._ask(method, path, body, query))

    def _ask(
        self, method: str, path: str, body: bytes, query: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer, whatever it is. Raise `BroadcastError` if there is none."""
        signed = sign_request(self.app, method, path, body, int(time.time()), query)
        try:
            return self._pool().request(
                method,
                f"{self.url}{path}?{urlencode(signed)}",
                body=body or None,
                redirect=False,
                pool_timeout=self.timeout,
            )
        except urllib3.exceptions.EmptyPoolError as exc:
            raise PublisherBusy(
                f"All {self.pool_size} connections to {self.url} were in use for "
                f"{self.timeout:g} s; nothing was sent. If so many threads publish at once, "
                f"raise the connection's POOL_SIZE."
            ) from exc
        except urllib3.exceptions.HTTPError as exc:
            raise BroadcastError(self._what_failed(exc)) from exc

    def _accepted(self, path: str, response: urllib3.BaseHTTPResponse) -> bytes:
        """Return the body of an answer. Raise `BroadcastError` if it is a refusal."""
        status = _status(response)
        if status != 200:
            error = PayloadError if status == 413 else BroadcastError
            raise error(
                f"{self.url}{path} answered {status}: {_printable(response.data)}"
                f"{self._advice(status, response.headers.get('Location', ''))}"
            )
        return response.data

    def _pool(self) -> urllib3.PoolManager:
        if self._pid != os.getpid():  # A fork: its parent uses these connections.
            self._http, self._pid = self._make_pool(), os.getpid()
        return self._http

    def _make_pool(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(
            maxsize=self.pool_size,
            block=True,
            timeout=urllib3.Timeout(connect=self.timeout, read=self.timeout),
            retries=False,  # What may have arrived is not sent again: at most once.
            headers=_HEADERS,
        )

    def _what_failed(self, exc: urllib3.exceptions.HTTPError) -> str:
        """Return why no answer came, and what to do."""
        text = next(text for kind, text in _FAILURES if isinstance(exc, kind))
        return text.format(url=self.url, timeout=self.timeout, reason=_printable(str(exc)))

    def _advice(self, status: int, location: str) -> str:
        """Return what to do about a refusal."""
        if status in {301, 302, 303, 307, 308}:
            return f". It redirects to {_printable(location)}. Correct the connection's URL."
        return _ADVICE.get(status, "").format(app=self.app)


# Why no answer came, and what to do. The narrower classes first.
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (
        urllib3.exceptions.ReadTimeoutError,
        "{url} did not answer within {timeout:g} s; the message may have arrived. Look at the "
        "server, or raise the connection's TIMEOUT.",
    ),
    (
        urllib3.exceptions.SSLError,
        "TLS to {url} failed: {reason}. The server must speak TLS there and have a certificate "
        "that is valid for this host.",
    ),
    (
        urllib3.exceptions.NameResolutionError,
        "The host of {url} is unknown. Correct the connection's URL.",
    ),
    (
        urllib3.exceptions.NewConnectionError,
        "No server answers at {url}. Start one there with `python manage.py runserver`, or "
        'correct the connection\'s URL in BROADCASTING["CONNECTIONS"].',
    ),
    (
        urllib3.exceptions.ConnectTimeoutError,
        "{url} accepted no connection within {timeout:g} s. Look at the server and the network, "
        "or correct the connection's URL.",
    ),
    (
        urllib3.exceptions.HTTPError,
        "{url} broke off without an answer; the message may have arrived. {reason}",
    ),
)
_ADVICE = {
    401: ". Compare KEY {app.key!r} and SECRET of application {app.id!r} with those of the "
    "server, and the clocks of both.",
    403: ". Application {app.id!r} is disabled there, or over its quota.",
    404: ". Compare ID {app.id!r} of the application with that of the server, and the "
    "connection's URL with the address of its API.",
    413: ". Send less, or raise MAX_EVENT_SIZE of the application on the server.",
}


def _server(url: object, cluster: object) -> str:
    if cluster is None:
        return checked_url(DEFAULT_URL if url is None else url)
    if url is not None:
        raise ValueError("URL and CLUSTER exclude each other; leave one of them out")
    if not (isinstance(cluster, str) and _CLUSTER.fullmatch(cluster)):
        raise ValueError(f'CLUSTER is {cluster!r}; it must be a name such as "eu" or "us2"')
    return f"https://api-{cluster}.pusher.com"


def checked_url(url: object) -> str:
    """Return the address of a server as it is used. Raise `ValueError` if it cannot be one."""
    if isinstance(url, str) and "@" in url:  # Not repeated: a password may be in it.
        raise ValueError("URL holds a user name; requests are signed and need none")
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.query or parts.fragment:
        raise ValueError(f'URL is {url!r}; it must be like "https://host:port/prefix"')
    return parts.geturl().rstrip("/")


def _positive(name: str, value: object, kind: type[int] | type[float] = float) -> float:
    kinds = (int,) if kind is int else (int, float)
    # A bool is an int, and does not mean a second.
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} is {value!r}; it must be {what} above 0")
    return value


def _refused_alone(
    response: urllib3.BaseHTTPResponse, names: Sequence[str]
) -> dict[str, BroadcastError]:
    """Return why this library's server refused some of `names`, if it accepted the others."""
    try:
        entries = json.loads(response.data)["channels"]
        errors = {name: entries[name].get("error") for name in names}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {name: BroadcastError(str(error)) for name, error in errors.items() if error}


def _status(response: urllib3.BaseHTTPResponse) -> int:
    """Return the status. soketi always answers 200 and writes the real one into the body."""
    if response.status == 200 and response.data.startswith(b'{"error"'):
        with suppress(ValueError, TypeError, KeyError):
            return int(json.loads(response.data)["code"])
    return response.status


def _clock(response: urllib3.BaseHTTPResponse) -> float:
    """Return the server's time, or this machine's if the answer has none."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return time.time()


def _printable(text: str | bytes) -> str:
    """Return the beginning of a server's text, fit for a terminal and a log."""
    if isinstance(text, bytes):
        text = text[: REASON_LENGTH * 4].decode(errors="replace")
    text = text.strip()
    cut = text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)

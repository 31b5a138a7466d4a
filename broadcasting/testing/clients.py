"""
Clients that need neither browser nor port.

They speak the protocol to a server in this process, and ask the project's own auth
endpoint, through Django's test client, whether they may subscribe.
"""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Self, TypeVar, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client
from django.urls import NoReverseMatch, reverse

from ..channel import Channel
from ..events.dispatch import refuse_in_loop
from ..exceptions import BroadcastError
from ..protocol.messages import decode
from ..protocol.names import is_guarded
from .fakes import is_faking
from .peer import NotReceived, Peer, Received, SubscriptionRefused
from .records import events_waiting_for_commit
from .site import Site, join_site, leave_site

T = TypeVar("T")

TIMEOUT = 5.0  # Seconds, which pass only if a test fails.


class _Client:
    """What both clients have in common; each waits in its own way."""

    def __init__(
        self,
        user: Any = None,
        *,
        client: Any = None,
        app_id: str | None = None,
        auth_url: str | None = None,
        user_auth_url: str | None = None,
    ) -> None:
        self._user = user
        self._client = client or self._new_client()
        self._app_id = app_id
        self._urls = {"auth": auth_url, "user-auth": user_auth_url}
        self._site: Site | None = None
        self._open_peer: Peer | None = None

    @staticmethod
    def _new_client() -> Any:
        raise NotImplementedError

    @property
    def socket_id(self) -> str:
        """The id that requests send as ``X-Socket-ID`` to be left out by `to_others`."""
        return self._peer.socket_id

    @property
    def _peer(self) -> Peer:
        if self._open_peer is None:
            raise BroadcastError(
                f"This client is not connected. Write: with {type(self).__name__}(...) as client:"
            )
        return self._open_peer

    def _join_site(self) -> Site:
        if self._site is not None:
            raise BroadcastError("This client is connected already. Make one for each socket.")
        if is_faking():
            raise BroadcastError(
                "Broadcasts are faked here, so a client would receive none. Use it outside of "
                "fake_broadcasts(), in a test case without BroadcastTestMixin."
            )
        self._site = join_site()
        return self._site

    def close(self) -> None:
        """Close the connection. Calling it again does nothing."""
        site, self._site = self._site, None
        if site is None:
            return
        peer, self._open_peer = self._open_peer, None
        try:
            if peer is not None:
                site.submit(peer.leave()).result()
        finally:
            leave_site()

    async def _connect(self, site: Site) -> Peer:
        peer = Peer(site, self._app_id)
        peer.raise_if_closed()
        return peer

    def _submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return cast(Site, self._site).submit(work)  # There is one, or `_peer` has raised.

    def _question(self, endpoint: str, channel: str | None) -> dict[str, Any]:
        """Return the arguments of a POST to an auth endpoint."""
        fields = {"socket_id": self.socket_id}
        if channel is not None:
            fields["channel_name"] = channel
        try:
            url = self._urls[endpoint] or reverse(f"broadcasting:{endpoint}")
        except NoReverseMatch as exc:
            raise ImproperlyConfigured(
                'The auth endpoint has no address. Write path("", include("broadcasting.urls")) '
                "into the project's URLs, or give the client auth_url=..."
            ) from exc
        return {"path": url, "data": fields, "secure": settings.SECURE_SSL_REDIRECT}


class BroadcastClient(_Client):
    """
    A client for sync tests: ``with BroadcastClient(user) as client:``.

    While one is open, every connection of the settings leads to it, whatever its driver.

    Args:
        user: The user who has logged in; `None` for a visitor.
        client: A `django.test.Client` with the session and headers of a page, in place of
            a new one.
        app_id: The application to connect to, by default the first one.
        auth_url: Where to ask, if not at ``broadcasting:auth``.
        user_auth_url: Where to ask, if not at ``broadcasting:user-auth``.
    """

    _new_client = Client

    def __enter__(self) -> Self:
        """Connect. Raise `ConnectionClosed` if the server refuses the connection."""
        refuse_in_loop("BroadcastClient", "async with AsyncBroadcastClient(...) as client:")
        site = self._join_site()
        try:
            self._open_peer = self._run(self._connect(site))
            if self._user is not None:
                self._client.force_login(self._user)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def subscribe(self, channel: Channel | str, *, timeout: float = TIMEOUT) -> None:
        """
        Subscribe to `channel`, with the auth endpoint's consent if the channel needs it.

        Raises:
            SubscriptionRefused: The endpoint or the server refused, and why.
        """
        name = _name(channel)
        signed = self._ask("auth", name) if is_guarded(name) else {}
        self._run(self._peer.subscribe(name, signed, timeout))

    def unsubscribe(self, channel: Channel | str) -> None:
        """Unsubscribe from `channel`."""
        self._run(self._peer.unsubscribe(_name(channel)))

    def sign_in(self, *, timeout: float = TIMEOUT) -> None:
        """Sign in as the user, to receive what is sent to ``#server-to-user-<id>``."""
        self._run(self._peer.sign_in(self._ask("user-auth", None), timeout))

    def whisper(self, channel: Channel | str, event: str, data: object) -> None:
        """Send ``client-<event>`` to the others in `channel`. Raise `ClientError` if refused."""
        self._run(self._peer.whisper(_name(channel), event, data))

    def receive(
        self,
        event: str | None = None,
        *,
        channel: Channel | str | None = None,
        timeout: float = TIMEOUT,
    ) -> Received:
        """
        Return the next event of this name, on this channel; others stay for later calls.

        Args:
            event: The name that clients listen for. That of a client event begins with
                ``client-``, that of the protocol's own with ``pusher:``; the latter are
                returned only if they are named.
            channel: Where; anywhere by default.
            timeout: Seconds to wait for it.

        Raises:
            AssertionError: It did not come.
            ConnectionClosed: The server has closed the connection.
        """
        try:
            return self._run(self._peer.receive(event, _name_or_none(channel), timeout))
        except NotReceived as exc:
            raise AssertionError(f"{exc}{_advice()}") from None

    def assert_nothing_received(
        self, event: str | None = None, *, channel: Channel | str | None = None
    ) -> None:
        """
        Fail if such an event has come that `receive` has not returned.

        It does not wait: what was sent before the call has arrived.
        """
        self._run(self._peer.assert_nothing_received(event, _name_or_none(channel)))

    def members(self, channel: Channel | str) -> dict[str, Any]:
        """Return the members of a presence channel: the info of each by user id."""
        return self._run(self._peer.members_of(_name(channel)))

    def wait_closed(self, *, timeout: float = TIMEOUT) -> int:
        """Return the code with which the server closes the connection."""
        return self._run(self._peer.wait_closed(timeout))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._submit(work).result()

    def _ask(self, endpoint: str, channel: str | None) -> dict[str, Any]:
        with _reasons() as reasons:
            response = self._client.post(**self._question(endpoint, channel))
        return _signed(response, channel, reasons)


class AsyncBroadcastClient(_Client):
    """
    `BroadcastClient` for async tests: ``async with AsyncBroadcastClient(user) as client:``.

    Arguments and methods are those of `BroadcastClient`, whose methods are awaited here;
    `client` is a `django.test.AsyncClient`.
    """

    _new_client = AsyncClient

    async def __aenter__(self) -> Self:
        """Connect. Raise `ConnectionClosed` if the server refuses the connection."""
        site = self._join_site()
        try:
            self._open_peer = await self._run(self._connect(site))
            if self._user is not None:
                await self._client.aforce_login(self._user)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    async def subscribe(self, channel: Channel | str, *, timeout: float = TIMEOUT) -> None:
        name = _name(channel)
        signed = await self._ask("auth", name) if is_guarded(name) else {}
        await self._run(self._peer.subscribe(name, signed, timeout))

    async def unsubscribe(self, channel: Channel | str) -> None:
        await self._run(self._peer.unsubscribe(_name(channel)))

    async def sign_in(self, *, timeout: float = TIMEOUT) -> None:
        await self._run(self._peer.sign_in(await self._ask("user-auth", None), timeout))

    async def whisper(self, channel: Channel | str, event: str, data: object) -> None:
        await self._run(self._peer.whisper(_name(channel), event, data))

    async def receive(
        self,
        event: str | None = None,
        *,
        channel: Channel | str | None = None,
        timeout: float = TIMEOUT,
    ) -> Received:
        try:
            return await self._run(self._peer.receive(event, _name_or_none(channel), timeout))
        except NotReceived as exc:
            raise AssertionError(f"{exc}{await sync_to_async(_advice)()}") from None

    async def assert_nothing_received(
        self, event: str | None = None, *, channel: Channel | str | None = None
    ) -> None:
        await self._run(self._peer.assert_nothing_received(event, _name_or_none(channel)))

    async def members(self, channel: Channel | str) -> dict[str, Any]:
        return await self._run(self._peer.members_of(_name(channel)))

    async def wait_closed(self, *, timeout: float = TIMEOUT) -> int:
        return await self._run(self._peer.wait_closed(timeout))

    def _run(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        return asyncio.wrap_future(self._submit(work))

    async def _ask(self, endpoint: str, channel: str | None) -> dict[str, Any]:
        with _reasons() as reasons:
            response = await self._client.post(**self._question(endpoint, channel))
        return _signed(response, channel, reasons)


def _advice() -> str:
    """Return a sentence on the events that wait for a transaction of this thread, if any do."""
    names = events_waiting_for_commit()
    if not names:
        return ""
    return (
        f"\nHeld until a commit, which a TestCase never makes: {', '.join(names)}. "
        f"Write: with self.captureOnCommitCallbacks(execute=True):"
    )


def _name(channel: Channel | str) -> str:
    # The server, not the client, refuses a name that the protocol does not allow.
    return channel if isinstance(channel, str) else channel.name


def _name_or_none(channel: Channel | str | None) -> str | None:
    return None if channel is None else _name(channel)


def _signed(response: Any, channel: str | None, reasons: list[str]) -> dict[str, Any]:
    """Return what an auth endpoint signed. Raise `SubscriptionRefused` if it refused."""
    if response.status_code == 200:
        answer = decode(response.content)
        if isinstance(answer, dict):
            return {name: answer[name] for name in answer if name != "shared_secret"}
    said = response.content.decode(errors="replace")[:200]
    reason = " ".join(reasons) or said or response.reason_phrase
    raise SubscriptionRefused(channel or "", response.status_code, reason)


@contextmanager
def _reasons() -> Iterator[list[str]]:
    """Yield what the auth endpoint logs meanwhile: its answer does not say why."""
    reasons: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reasons.append(record.getMessage())

    logger, handler = logging.getLogger("broadcasting.auth"), Handler()
    logger.addHandler(handler)
    try:
        yield reasons
    finally:
        logger.removeHandler(handler)

"""The settings as frozen dataclasses, each of which documents one dictionary of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..applications import Application
from ..retention import Retentions


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """
    ``CIRCUIT_BREAKER``: when a failing connection is left alone.

    Attributes:
        failures: Failures in a row after which it is; `None` for never.
        seconds: How long, before the next attempt.
        slow: Seconds that a failure must have taken to be counted.
    """

    failures: int | None = 5
    seconds: float = 10
    slow: float = 0.1


@dataclass(frozen=True, slots=True)
class Connection:
    """One entry of ``CONNECTIONS``: a driver, its options and the application it serves."""

    alias: str
    driver: str
    app: Application
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # Passwords, perhaps.
    circuit_breaker: CircuitBreaker = CircuitBreaker()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """
    ``SERVER``: how processes serve sockets.

    Attributes:
        connection: The alias to read from; `None` for the default one if its driver can
            be read from.
        path: What stands before ``/app/<key>`` in a socket's address.
        host: The address that ``broadcast_serve`` listens on.
        port: Its port.
        max_connections: Sockets that one process accepts; `None` for as many as its
            limit on open files allows.
        max_connections_per_address: Of these, from one client address; `None` for no limit.
        handshake_timeout: Seconds that a client may take to send the head of a request.
        metrics_token: What a caller from another machine must send to read the metrics;
            `None` to refuse all such callers.
    """

    connection: str | None = None
    path: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    max_connections: int | None = None
    max_connections_per_address: int | None = None
    handshake_timeout: int = 10
    metrics_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """
    ``QUEUE``: events that a worker sends.

    Attributes:
        backend: An alias in ``TASKS``, or the dotted path of a function that puts an
            event into any other queue.
        name: The queue of events that do not name one.
        all: Whether an event is queued whose ``broadcast_queue()`` returns `None`.
        tries: How often an event is tried.
        backoff: Seconds before the second try, the third and so on; the last one repeats.
        expires: Seconds after which a waiting event is dropped; `None` for never.
        cache: The alias in ``CACHES`` where debounced events wait.
    """

    backend: str = "default"
    name: str = "default"
    all: bool = True
    tries: int = 5
    backoff: tuple[float, ...] = (1, 5, 15, 60)
    expires: int | None = None
    cache: str = "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The whole of ``BROADCASTING``.

    Attributes:
        default: The alias of the connection for events that do not name one.
        connections: Every known connection by its alias.
        apps: The applications; the first is the default one.
        server: How processes serve sockets.
        proxy_header: ``SECURE_PROXY_SSL_HEADER``: the header, in lower case, and the value
            by which a proxy says that its client's connection is encrypted.
        authenticators: Dotted paths of the functions that find a request's user, in order.
        queue: How events are queued.
        circuit_breaker: That of the queue, and of connections without one of their own.
        retentions: What connections keep of each channel's events.
    """

    default: str
    connections: Mapping[str, Connection]
    apps: tuple[Application, ...]
    server: Server
    proxy_header: tuple[str, str] | None = None
    authenticators: tuple[str, ...] = ()
    queue: Queue = Queue(all=False)
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    retentions: Retentions = field(default_factory=Retentions)

    def connection(self, alias: str) -> Connection:
        """Return a connection. Raise `ImproperlyConfigured` that lists the known ones."""
        try:
            return self.connections[alias]
        except (KeyError, TypeError):  # A list, for one, cannot be a key.
            known = ", ".join(sorted(self.connections))
            raise ImproperlyConfigured(
                f"There is no broadcast connection {alias!r}. Known connections: {known}. "
                f'Add it to BROADCASTING["CONNECTIONS"] or correct the name.'
            ) from None

"""
Connections by alias: ``broadcasters["redis"]`` to write, `get_broker` to read.

Django's `BaseConnectionHandler` is not used. It makes an object, and so a pool, for each thread
or async context. Here they are made once for the process.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from ..conf import Connection, get_settings
from .base import Broadcaster, Broker, Common

logger = logging.getLogger("broadcasting.drivers")


class Broadcasters:
    """
    The write ends of the process, made on first use.

    Args:
        make: Makes one.
    """

    def __init__(self, make: Callable[[Connection], Broadcaster]) -> None:
        self._lock = threading.RLock()
        self._made: dict[str, Broadcaster] = {}
        self._make = make

    def __getitem__(self, alias: str) -> Broadcaster:
        """Return the write end of `alias`. Raise `ImproperlyConfigured` if it cannot be made."""
        made = self._made.get(alias)
        if made is not None:
            return made
        with self._lock:
            if alias not in self._made:
                self._made[alias] = self._make(get_settings().connection(alias))
            return self._made[alias]

    def close_all(self) -> None:
        """Close every write end. The next use makes a new one."""
        with self._lock:
            made, self._made = self._made, {}
        for broadcaster in made.values():
            broadcaster.close()

    @contextmanager
    def made_by(self, make: Callable[[Connection], Broadcaster]) -> Iterator[None]:
        """
        Make every write end by `make` in the block, whatever the settings say.

        Those that were made before are neither used nor closed in the block, and are used
        again after it. A block in another one must end first.
        """
        with self._lock:
            before = self._make, self._made
            self._make, self._made = make, {}
        try:
            yield
        finally:
            with self._lock:
                self._make, self._made = before


def make_broadcaster(connection: Connection) -> Broadcaster:
    """Return a new write end. Raise `ImproperlyConfigured` if it cannot be made."""
    where = f'BROADCASTING["CONNECTIONS"][{connection.alias!r}]'
    try:
        driver = import_string(connection.driver)
    except ImportError as exc:
        raise ImproperlyConfigured(
            f'{where}["DRIVER"] is {connection.driver!r}, which cannot be imported: {exc}. '
            f"Correct the path, or install the package that the driver needs."
        ) from exc
    if not (isinstance(driver, type) and issubclass(driver, Broadcaster)):
        raise ImproperlyConfigured(
            f'{where}["DRIVER"] is {connection.driver!r}, which is not a Broadcaster. '
            f"Name a subclass of broadcasting.drivers.base.Broadcaster."
        )
    settings = get_settings()
    common = Common(
        app=connection.app, first_app_id=settings.apps[0].id, retentions=settings.retentions
    )
    try:
        return driver(**common, **connection.options)
    except (TypeError, ValueError) as exc:  # An unknown option, or a mistaken value.
        raise ImproperlyConfigured(f"{where} does not fit its driver: {exc}.") from exc


broadcasters = Broadcasters(make_broadcaster)


# One read end per loop. Not weak keys: a broker refers to its loop.
_brokers: dict[asyncio.AbstractEventLoop, Broker] = {}
_brokers_lock = threading.Lock()


def get_broker() -> Broker:
    """
    Return the running loop's read end of the connection that server processes read.

    It is made on first use, and closed by `close_broker`. The connection is
    ``SERVER["CONNECTION"]``, else the default one if it can be read, else ``memory``.
    """
    loop = asyncio.get_running_loop()
    with _brokers_lock:
        for other in [other for other in _brokers if other.is_closed()]:
            del _brokers[other]
        if loop not in _brokers:
            _brokers[loop] = server_broadcaster().get_broker()
        return _brokers[loop]


@cache
def warn_of_other_address(port: int) -> None:
    """
    Log once if other processes would post to an address that is not this server's.

    A server learns its own port only from its first client.
    """
    settings = get_settings()
    alias = settings.server.connection or settings.default
    url = broadcasters[alias].posts_to
    if url is None:
        return
    parts = urlsplit(url)
    expected = parts.port or (443 if parts.scheme == "https" else 80)
    if port != expected:
        logger.warning(
            "This server listens on port %d, but other processes send what they broadcast to "
            '%s. Set BROADCASTING["CONNECTIONS"][%r]["URL"] to the address of this server.',
            port,
            url,
            alias,
        )


async def close_broker() -> None:
    """Close the running loop's broker, if it has one."""
    with _brokers_lock:
        broker = _brokers.pop(asyncio.get_running_loop(), None)
    if broker is not None:
        await broker.close()


def server_alias() -> str:
    """
    Return the alias of the connection that server processes read.

    Raise `ImproperlyConfigured` if ``SERVER["CONNECTION"]`` names one that only writes.
    """
    settings = get_settings()
    named = settings.server.connection
    if broadcasters[named or settings.default].can_be_read:
        return named or settings.default
    if named is None:
        return "memory"
    raise ImproperlyConfigured(
        f'BROADCASTING["SERVER"]["CONNECTION"] is {named!r}, whose driver only writes. Name a '
        f"memory, channels or redis connection."
    )


def server_broadcaster() -> Broadcaster:
    """Return the write end of the connection that server processes read."""
    return broadcasters[server_alias()]


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: object) -> None:
    # SECRET_KEY: the secret of the default application is derived from it.
    if setting in {"BROADCASTING", "CHANNEL_LAYERS", "SECRET_KEY"}:
        broadcasters.close_all()
        with _brokers_lock:
            _brokers.clear()

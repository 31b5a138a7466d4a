"""
Connections by alias: ``broadcasters["redis"]`` to write, `get_broker` to read.

Django's `BaseConnectionHandler` is not used: it makes one object per thread or async
context, thus one Redis pool each, where these are made once per process.
"""

import inspect
import threading

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..conf import Connection, get_settings
from .base import Broadcaster, Broker


class Broadcasters:
    """The process's write ends, made on first use."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._made: dict[str, Broadcaster] = {}

    def __getitem__(self, alias: str) -> Broadcaster:
        """Return the write end of `alias`. Raise `ImproperlyConfigured` if it cannot be made."""
        made = self._made.get(alias)
        if made is not None:
            return made
        with self._lock:
            if alias not in self._made:
                self._made[alias] = _make(get_settings().connection(alias))
            return self._made[alias]

    def close_all(self) -> None:
        """Close every write end; the next use makes a new one."""
        with self._lock:
            made, self._made = self._made, {}
        for broadcaster in made.values():
            broadcaster.close()


broadcasters = Broadcasters()


def get_broker() -> Broker:
    """
    Return a new read end, for the running loop, of the connection that servers read.

    That is ``SERVER["CONNECTION"]``, else the default connection if it can be read,
    else ``memory``.
    """
    settings = get_settings()
    if settings.server_connection is not None:
        broadcaster = broadcasters[settings.server_connection]
        if not broadcaster.can_be_read:
            raise ImproperlyConfigured(
                f'BROADCASTING["SERVER"]["CONNECTION"] is {settings.server_connection!r}, '
                f"whose driver only writes. Name a memory, channels or redis connection."
            )
        return broadcaster.get_broker()
    broadcaster = broadcasters[settings.default]
    return (broadcaster if broadcaster.can_be_read else broadcasters["memory"]).get_broker()


@setting_changed.connect
def _reset(*, setting: str, **kwargs: object) -> None:
    if setting in {"BROADCASTING", "CHANNEL_LAYERS"}:
        broadcasters.close_all()


def _make(connection: Connection) -> Broadcaster:
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
            f'{where}["DRIVER"] is {connection.driver!r}, which is not a Broadcaster.'
        )
    arguments = {
        "app": connection.app,
        "first_app_id": get_settings().apps[0].id,
        **connection.options,
    }
    try:
        inspect.signature(driver).bind(**arguments)
    except TypeError as exc:
        raise ImproperlyConfigured(f"{where} does not fit its driver: {exc}.") from exc
    return driver(**arguments)

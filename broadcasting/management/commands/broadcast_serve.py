"""Serve the site and its sockets, in production."""

import argparse
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...adapters.uvicorn.listeners import listen, listen_on_path, take_over
from ...conf import get_settings
from ...conf.schema import Server as ServerSettings
from ...drivers.registry import broadcasters, server_alias, warn_of_other_address
from ...server.admission import connections_that_fit, raise_file_limit, sockets_that_fit
from ...server.metrics.workers import Worker, set_worker

try:
    from ...adapters.uvicorn.options import Options
    from ...adapters.uvicorn.reload import serve_until_changed
    from ...adapters.uvicorn.server import serve
except ImportError as exc:  # One of the extra's packages.
    missing: ImportError | None = exc
else:
    missing = None

IS_WINDOWS = sys.platform == "win32"


class Command(BaseCommand):
    """
    Serve pages, the HTTP API and sockets on one port, until told to leave.

    SIGTERM drains; SIGHUP replaces the workers, or drains where there is one process.
    """

    help = "Serve the site, its HTTP API and its WebSockets with uvicorn."
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument_group("where to listen").add_argument
        add("--host", help='Default: BROADCASTING["SERVER"]["HOST"].')
        port = 'Default: BROADCASTING["SERVER"]["PORT"]; 0 is a free one.'
        add("--port", type=_number(int, 0, 65_535), metavar="NUMBER", help=port)
        add("--uds", metavar="PATH", help="A Unix socket in place of a port.")
        add("--fd", type=int, metavar="NUMBER", help="A listening socket: systemd's is 3.")
        add("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
        add("--tls-key", metavar="FILE", help="Its key, if it is not in that file.")

        add = parser.add_argument_group("behind a proxy").add_argument
        proxies = (
            "Addresses and networks of trusted proxies, with commas. "
            "Default: FORWARDED_ALLOW_IPS of the environment, else 127.0.0.1,::1."
        )
        add("--forwarded-allow-ips", metavar="LIST", help=proxies)
        idle = "How long an HTTP connection may be idle. Default: 5."
        whole = _number(int, 1, 10_000)
        add("--keep-alive", type=whole, default=5, metavar="SECONDS", help=idle)

        add = parser.add_argument_group("processes").add_argument
        add("--workers", type=whole, default=1, metavar="NUMBER", help="Default: 1.")
        seconds = _number(float, 0, 3_600)
        delay = "Between being not ready and accepting nobody. Default: 5."
        add("--drain-delay", type=seconds, default=5.0, metavar="SECONDS", help=delay)
        drain = "Over which sockets are closed. Default: 10."
        add("--drain-seconds", type=seconds, default=10.0, metavar="SECONDS", help=drain)
        only = "No pages: only sockets, the HTTP API, health and metrics."
        add("--sockets-only", action="store_true", help=only)

        add = parser.add_argument_group("development").add_argument
        add("--reload", action="store_true", help="Start again when a file changes.")
        add("--debug", action="store_true", help="Print every frame and decision.")
        add("--access-log", action="store_true", help="Log requests, signatures masked.")

    def handle(self, *args: Any, **options: Any) -> None:
        if missing is not None:
            raise CommandError(
                f"broadcast_serve needs packages that are not installed ({missing}). "
                f'Install them: pip install "whik[serve]".'
            ) from missing
        _check_options(options)
        try:
            settings = get_settings()
            alias = _check_connection(options["workers"])
            wanted = _options(options, *self._limits(settings.server.max_connections))
            with ExitStack() as stack:
                sockets = _listen(stack, options, settings.server)
                if _has_port(sockets[0]):
                    warn_of_other_address(sockets[0].getsockname()[1])
                directory = self._make_directory(stack, options["workers"])
                on_ready = partial(self._say, _line(options, sockets[0], alias))
                if not _serve(wanted, sockets, directory, on_ready, stack.close):
                    raise CommandError("No worker could start. The lines above say why.")
        except ImproperlyConfigured as exc:
            raise CommandError(str(exc)) from exc

    def _make_directory(self, stack: ExitStack, workers: int) -> Path | None:
        """Return where workers meet, `None` on a machine where nothing can be written."""
        try:
            directory = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="broadcast-serve-", ignore_cleanup_errors=True)
            )
        except OSError as exc:
            if workers > 1:
                self._warn(
                    f"There is no place for temporary files ({exc}), so /metrics shows only the "
                    f"worker that happens to answer. Set TMPDIR to a directory that this user may "
                    f"write to."
                )
            return None
        return Path(directory)

    def _limits(self, wanted: int | None) -> tuple[int | None, int | None]:
        """Return how many sockets, and how many connections of all kinds, a process has."""
        files = raise_file_limit()
        if files is None:
            return wanted, connections_that_fit(None, wanted)
        fitting = sockets_that_fit(files)
        if wanted is not None and wanted > fitting:
            needed = wanted + files - fitting
            self._warn(
                f'BROADCASTING["SERVER"]["MAX_CONNECTIONS"] is {wanted}, but a process may open '
                f"{files} files here, which is enough for {fitting} sockets. Others will be "
                f"refused. Raise the limit to {needed}: LimitNOFILE={needed} in the unit of "
                f"systemd, `ulimit -n {needed}` in a shell."
            )
        sockets = fitting if wanted is None else min(wanted, fitting)
        return sockets, connections_that_fit(files, sockets)

    def _warn(self, text: str) -> None:
        self.stderr.write(self.style.WARNING(text))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _serve(
    options: "Options",
    sockets: list[socket.socket],
    directory: Path | None,
    on_ready: Callable[[], object],
    on_end: Callable[[], object],
) -> bool:
    """Serve until told to leave. Return whether that was possible."""
    if options.workers > 1:
        # SIGHUP and the like are not there on Windows.
        from ...adapters.uvicorn.supervisor import supervise

        return supervise(options, sockets, directory, on_ready)
    worker = Worker(1, directory, 1)
    if options.reload:
        on_ready()
        serve_until_changed(options, sockets, worker)
    else:
        set_worker(worker)
        serve(options, sockets, on_ready=on_ready, on_end=on_end)
    return True


def _options(options: dict[str, Any], max_sockets: int | None, max_open: int | None) -> "Options":
    only = "sockets_only_application" if options["sockets_only"] else "application"
    given = {field.name for field in fields(Options)} & options.keys()
    return Options(
        app=f"broadcasting.asgi:{only}",
        max_sockets=max_sockets,
        max_open=max_open,
        handshake_timeout=get_settings().server.handshake_timeout,
        **{name: options[name] for name in given},
    )


def _check_options(options: dict[str, Any]) -> None:
    """Raise `CommandError` if they contradict each other."""
    if options["reload"] and options["workers"] > 1:
        raise CommandError("--reload serves with one process; leave --workers out.")
    if options["workers"] > 1 and IS_WINDOWS:
        raise CommandError(
            "--workers needs listening sockets that processes share, which Windows lacks. "
            "Start a server for each of several ports, and a proxy before them."
        )
    places = [name for name in ("uds", "fd") if options[name] is not None]
    if any(options[name] is not None for name in ("host", "port")):
        places.append("host and --port")
    if len(places) > 1:
        raise CommandError(f"--{places[0]} and --{places[1]} exclude each other.")
    if options["uds"] is not None and not hasattr(socket, "AF_UNIX"):
        raise CommandError("--uds: this system has no Unix sockets.")
    if options["tls_key"] is not None and options["tls_cert"] is None:
        raise CommandError("--tls-key needs the certificate, too: --tls-cert FILE.")
    if options["tls_cert"] is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                options["tls_cert"], options["tls_key"]
            )
        except (OSError, ssl.SSLError) as exc:
            raise CommandError(
                f"--tls-cert {options['tls_cert']}: the certificate and its key cannot be "
                f"loaded: {exc}."
            ) from exc


def _check_connection(workers: int) -> str:
    """Return the alias of the connection that servers read, if so many workers can."""
    alias = server_alias()
    if workers > 1 and broadcasters[alias].posts_to is not None:
        raise CommandError(
            f"--workers {workers}: the connection {alias!r} ends at the process, so "
            f"what one worker sends would not reach the clients of another. Set "
            f'BROADCASTING["DEFAULT"], or BROADCASTING["SERVER"]["CONNECTION"], to a connection '
            f"of broadcasting.drivers.redis.RedisBroadcaster, or leave --workers out."
        )
    return alias


def _listen(
    stack: ExitStack, options: dict[str, Any], server: ServerSettings
) -> list[socket.socket]:
    """Return sockets that listen, and are closed with `stack`."""
    host = server.host if options["host"] is None else options["host"]
    port = server.port if options["port"] is None else options["port"]
    place = f"{host} port {port}"
    try:
        if options["fd"] is not None:
            place = f"file descriptor {options['fd']}"
            sockets = [take_over(options["fd"])]
        elif options["uds"] is not None:
            place = options["uds"]
            sockets = [stack.enter_context(listen_on_path(place))]
        else:
            sockets = listen(host, port)
    except OSError as exc:
        raise CommandError(f"Cannot listen on {place}: {exc.strerror or exc}.") from exc
    for sock in sockets:
        stack.enter_context(sock)
    return sockets


def _line(options: dict[str, Any], sock: socket.socket, alias: str) -> str:
    """Return what to tell whoever has started the server."""
    settings = get_settings()
    path = f"/{settings.server.path}/app/{settings.apps[0].key}".replace("//", "/")
    if _has_port(sock):
        host, port = sock.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        s = "s" if options["tls_cert"] is not None else ""
        where = f"http{s}://{host}:{port}/ and ws{s}://{host}:{port}{path}"
    else:
        where = f"{sock.getsockname()} and its {path}"
    workers = options["workers"]
    return (
        f"Serving {where} through connection {alias!r}, with {workers} "
        f"worker{'' if workers == 1 else 's'}. Ctrl+C stops it."
    )


def _has_port(sock: socket.socket) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def _number(kind: type[int | float], low: int, high: int) -> Callable[[str], float]:
    """Return what reads a number of an option."""

    def read(text: str) -> float:
        with suppress(ValueError):
            value = kind(text)
            if low <= value <= high:
                return value
        what = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} from {low} to {high}")

    return read

"""The sockets on which a server listens, opened before it starts."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

BACKLOG = 2048  # Clients that may wait to be accepted.


def listen(host: str, port: int) -> list[socket.socket]:
    """
    Listen on each address of `host`; on every one of the machine if it is empty or ``::``.

    Port 0 is a free one, the same for all.

    Raises:
        OSError: The name has no address, or somebody listens there.
    """
    # "::" takes IPv4, too, but calls a client ::ffff:127.0.0.1, which is nobody's idea of the
    # address of a trusted proxy. Of the machine's addresses each kind gets a socket.
    name = None if host in ("", "::") else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    sockets: list[socket.socket] = []
    with ExitStack() as opened:
        for family, address in addresses:
            if port == 0 and sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                listener = socket.create_server(address, family=family, backlog=BACKLOG)
            except OSError as exc:
                if exc.errno == errno.EAFNOSUPPORT:  # The machine has no such addresses.
                    continue
                raise
            sockets.append(opened.enter_context(listener))
        if not sockets:
            raise OSError(errno.EAFNOSUPPORT, f"This machine has no address of {host!r}")
        opened.pop_all()
    return sockets


@contextmanager
def listen_on_path(path: str) -> Iterator[socket.socket]:
    """
    Listen on the Unix socket `path`, and remove it in the end.

    What a server left there that has died is replaced. Every user of the machine may
    connect; the permissions of the directory can narrow that.

    Raises:
        OSError: Somebody listens there, or it is something else.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "It exists, and is no socket", path)
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
            else:
                raise OSError(errno.EADDRINUSE, "Somebody listens there already", path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103  (the proxy is another user)
        listener.listen(BACKLOG)
        own = _identity(path)
        try:
            yield listener
        finally:
            with suppress(FileNotFoundError):
                if _identity(path) == own:  # Another server may listen there by now.
                    os.unlink(path)


def take_over(descriptor: int) -> socket.socket:
    """
    Return the listening socket that another program has opened, systemd for one.

    Raises:
        OSError: It is none.
    """
    listener = socket.socket(fileno=os.dup(descriptor))
    accepts = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.type != socket.SOCK_STREAM or not accepts:
        listener.close()
        raise OSError(errno.EINVAL, "It is no socket that listens")
    return listener


def _identity(path: str) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_ctime_ns

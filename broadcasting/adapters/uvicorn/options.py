"""How a server is asked to serve."""

from collections.abc import Sequence
from dataclasses import dataclass

import uvicorn

from .http import HttpProtocol

# Frames for the project's own consumers. What this library reads has limits of its own,
# and uvicorn's 16 MB would let each client fill that much memory.
MAX_FRAME = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    How to serve, in a form that another process can be given.

    Attributes:
        app: Where the function is that returns the ASGI application.
        max_sockets: WebSockets that one process accepts, `None` for no limit.
        max_open: Its connections of all kinds.
        handshake_timeout: Seconds for the head of a request.
        keep_alive: Seconds that an HTTP connection may be idle between two requests.
        drain_delay: Seconds between the first word of leaving and the end of listening.
        drain_seconds: Seconds over which sockets are closed.
    """

    app: str = "broadcasting.asgi:application"
    workers: int = 1
    tls_cert: str | None = None
    tls_key: str | None = None
    forwarded_allow_ips: str | None = None
    reload: bool = False
    debug: bool = False
    access_log: bool = False
    max_sockets: int | None = None
    max_open: int | None = None
    handshake_timeout: float = 10.0
    keep_alive: int = 5
    drain_delay: float = 5.0
    drain_seconds: float = 10.0

    def config(self, reload_dirs: Sequence[str] = ()) -> uvicorn.Config:
        """Return the same in uvicorn's words, and where a changed file makes it start again."""
        return uvicorn.Config(
            self.app,
            factory=True,
            http=HttpProtocol,
            ws="auto",  # The WebSockets of the project's own consumers.
            loop="auto",
            lifespan="auto",
            interface="asgi3",
            workers=self.workers,
            reload=bool(reload_dirs),
            reload_dirs=list(reload_dirs),
            ssl_certfile=self.tls_cert,
            ssl_keyfile=self.tls_key,
            forwarded_allow_ips=self.forwarded_allow_ips,
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,  # It doubles CPU and memory of each connection.
            timeout_keep_alive=self.keep_alive,
            log_config=None,  # LOGGING is the project's.
            access_log=self.access_log,
            server_header=False,
        )

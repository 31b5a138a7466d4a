"""The servers that are compared: how each is started, joined and published to."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from .dialects import CHANNEL, Dialect, EngineIO, Keys, Plain, Pusher
from .peers import NODE, SOKETI, VENV, Redis
from .poller import Poller
from .processes import Measured, Started
from .publishers import CallPublisher, HttpPublisher, Publisher, SocketPublisher

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "var" / "bench" / "logs"
PEERS = ROOT / "benchmarks" / "peers"
SITE = "benchmarks.site"
KEYS = Keys("1", "bench-key", "bench-secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """
    One row of the table.

    Attributes:
        name: How it is called on the command line.
        title: How it is called in the table.
        speaks: Which dialect its clients have.
        command: What starts it; ``{port}`` stands for its port.
        environment: What it finds in its environment besides.
        directory: Where it is started.
        needs: What must be installed for it: ``redis``, ``node``, ``venv``.
        bus: ``redis`` where messages are published straight into Redis.
        keys: The application that clients and publishers speak for.
        is_stock: Whether it is so much slower than the others that it is spared the
            measurements with more than 1 000 sockets.
    """

    name: str
    title: str
    speaks: Literal["pusher", "plain", "engine.io"] = "pusher"
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = ROOT
    needs: frozenset[str] = frozenset()
    bus: Literal["own", "redis"] = "own"
    keys: Keys = KEYS
    is_stock: bool = False

    def start(self, redis: Redis | None, **environment: str) -> Measured:
        """Start it. `environment` is added to its own."""
        if redis is not None:
            environment["BENCH_REDIS_URL"] = redis.url
        return Started(
            self.command,
            {**self.environment, **environment},
            self.directory,
            LOGS / f"{self.name}.log",
        )

    def subscriber(self, channel: Callable[[int], str] | str = CHANNEL) -> Dialect:
        """Return what a client says that receives; only Pusher's choose a channel."""
        if self.speaks == "pusher":
            name = channel
            return Pusher(self.keys, name if callable(name) else lambda number: name)
        return Plain(joins=True) if self.speaks == "plain" else EngineIO(joins=True)

    def publisher(
        self,
        poller: Poller,
        running: Measured,
        redis: Redis | None,
        *,
        connections: int,
        channel: str = CHANNEL,
    ) -> Publisher:
        """Return who sends to it."""
        if self.bus == "redis" and redis is not None:
            return CallPublisher(redis.publisher(self.keys, channel))
        if self.speaks == "pusher":
            return HttpPublisher(
                poller, running.address, self.keys, connections=connections, channel=channel
            )
        dialect = Plain(joins=False) if self.speaks == "plain" else EngineIO(joins=False)
        return SocketPublisher(poller, running.address, dialect, connections=connections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Server):
    """A server that somebody else has started, and that speaks Pusher's protocol."""

    host: str
    port: int
    pid: int

    def start(self, redis: Redis | None, **environment: str) -> Measured:
        """Return it as it is."""
        return Measured(self.host, self.port, self.pid)


_OWN_SITE = {
    "DJANGO_SETTINGS_MODULE": f"{SITE}.settings",
    "BENCH_URL": "http://127.0.0.1:{port}",
}
_SERVE = (
    *(sys.executable, "manage.py", "broadcast_serve"),
    *("--host", "127.0.0.1", "--port", "{port}"),
    *("--drain-delay", "0", "--drain-seconds", "0"),
)
_DAPHNE = (
    *(sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", "{port}"),
    f"{SITE}.asgi:application",
)
_UVICORN = (
    *(sys.executable, "-m", "uvicorn", f"{SITE}.asgi:application", "--lifespan", "off"),
    *("--host", "127.0.0.1", "--port", "{port}", "--ws-per-message-deflate", "false"),
    *("--no-access-log", "--log-level", "warning"),
)
_broadcast_serve = Server(
    name="broadcast_serve",
    title="broadcast_serve",
    command=_SERVE,
    environment=_OWN_SITE,
)
_daphne = replace(_broadcast_serve, name="daphne", title="our consumer on daphne", command=_DAPHNE)
_uvicorn = replace(
    _broadcast_serve, name="uvicorn", title="our consumer on uvicorn", command=_UVICORN
)


def _over_redis(server: Server) -> Server:
    return replace(
        server,
        name=f"{server.name}-redis",
        title=f"{server.title}, Redis",
        environment={**_OWN_SITE, "BENCH_CONNECTION": "redis"},
        needs=frozenset({"redis"}),
        bus="redis",
    )


SERVERS = (
    _broadcast_serve,
    _over_redis(_broadcast_serve),
    _uvicorn,
    _over_redis(_uvicorn),
    _daphne,
    _over_redis(_daphne),
    Server(
        name="soketi",
        title=f"soketi {SOKETI} (Node, uWebSockets)",
        command=("node", "node_modules/@soketi/soketi/bin/server.js", "start"),
        environment={
            "SOKETI_HOST": "127.0.0.1",
            "SOKETI_PORT": "{port}",
            "SOKETI_DEFAULT_APP_ID": KEYS.app_id,
            "SOKETI_DEFAULT_APP_KEY": KEYS.key,
            "SOKETI_DEFAULT_APP_SECRET": KEYS.secret,
        },
        directory=NODE,
        needs=frozenset({"node"}),
    ),
    Server(
        name="socketio",
        title="Socket.IO (Node)",
        speaks="engine.io",
        command=("node", str(PEERS / "socketio_server.js"), "{port}"),
        directory=NODE,
        needs=frozenset({"node"}),
    ),
    Server(
        name="python-socketio",
        title="python-socketio on uvicorn",
        speaks="engine.io",
        command=(str(VENV / "bin" / "python"), str(PEERS / "socketio_server.py"), "{port}"),
        needs=frozenset({"venv"}),
    ),
    Server(
        name="channels-uvicorn",
        title="Channels group: uvicorn, Redis pub/sub layer",
        speaks="plain",
        command=_UVICORN,
        environment=_OWN_SITE,
        needs=frozenset({"redis"}),
        is_stock=True,
    ),
    Server(
        name="channels-daphne",
        title="Channels group: daphne, in-memory layer",
        speaks="plain",
        command=_DAPHNE,
        environment=_OWN_SITE,
        is_stock=True,
    ),
)

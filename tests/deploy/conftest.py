"""The site of ``tests/deploy/site`` in processes, and the proxies before it."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import RedisServer
from tests.deploy.clients import fetch
from tests.deploy.programs import Place, Process, Proxy, serve, start_nginx, start_proxy
from tests.deploy.site.settings import METRICS_TOKEN
from tests.utils import free_port

FRONTS = ["nginx-socket", "nginx-ports", "haproxy", "caddy"]
READY = "Serving "


class Site:
    """
    The processes of one site, on a Redis and a database of their own.

    Attributes:
        env: What its processes find in their environment.
        directory: Where its files lie.
    """

    def __init__(self, directory: Path, database: Path, redis_url: str) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        own = directory / "db.sqlite3"
        shutil.copyfile(database, own)
        self.env = {
            "DJANGO_SETTINGS_MODULE": "tests.deploy.site.settings",
            "DJANGO_DEBUG": "0",
            "SECRET_KEY": "the-same-for-every-process-of-this-site",
            "ALLOWED_HOSTS": "127.0.0.1",
            "BROADCAST_CONNECTION": "redis",
            "REDIS_URL": redis_url,
            "WHIK_DATABASE": str(own),
            "PYTHONUNBUFFERED": "1",
        }
        self._processes = ExitStack()
        self._count = 0

    def serve(self, *arguments: str, pass_fds: Sequence[int] = ()) -> Process:
        """Start ``broadcast_serve``. Wait for ``READY`` in its log."""
        self._count += 1
        log = self.directory / f"serve-{self._count}.log"
        return self.keep(serve(*arguments, log=log, env=self.env, pass_fds=pass_fds))

    def serve_on(self, ports: Sequence[int], *arguments: str) -> list[Process]:
        """Start a process on each port, and wait until they serve."""
        processes = [
            self.serve("--port", str(port), "--keep-alive", "75", *arguments) for port in ports
        ]
        for process in processes:
            process.wait_for_log(READY)
        return processes

    def keep(self, process: Process) -> Process:
        """End `process` with the site."""
        self._processes.callback(process.stop)
        return process

    def stop(self) -> None:
        """End all processes, the last one first."""
        self._processes.close()


@dataclass(frozen=True)
class Front:
    """
    A proxy, and who serves behind it.

    Attributes:
        name: One of ``FRONTS``.
        places: Where the processes, or all of them together, tell their numbers.
        log: Where the proxy writes what it was asked for.
    """

    name: str
    proxy: Proxy
    places: list[Place]
    log: Path

    def log_text(self) -> str:
        """Return what the proxy has written so far."""
        return self.log.read_text()

    def open_sockets(self) -> list[float]:
        """Return how many sockets each process has."""
        return [number for place in self.places for number in _open_sockets(place)]


def _open_sockets(place: Place) -> list[float]:
    token = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    status, text, _ = fetch(place, "GET", "/metrics", headers=token)
    assert status == 200
    by_worker: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        if family.name == "broadcasting_connections":
            for sample in family.samples:
                by_worker[sample.labels["worker"]] += int(sample.value)
    return [float(number) for number in by_worker.values()]


MakeSite = Callable[[], Site]


@pytest.fixture(scope="session")
def _deploy_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def make_site(
    tmp_path: Path, _migrated_database: Path, _deploy_redis: RedisServer
) -> Iterator[MakeSite]:
    """Return a function that makes a site without processes."""
    with ExitStack() as sites:

        def make() -> Site:
            site = Site(tmp_path / "site", _migrated_database, _deploy_redis.url)
            sites.callback(site.stop)
            return site

        yield make


@pytest.fixture(scope="session")
def _two_workers(
    tmp_path_factory: pytest.TempPathFactory,
    _migrated_database: Path,
    _deploy_redis: RedisServer,
) -> Iterator[Path]:
    """Serve with two workers on a Unix socket."""
    directory = tmp_path_factory.mktemp("workers")
    site = Site(directory, _migrated_database, _deploy_redis.url)
    path = directory / "serve.sock"
    process = site.serve(
        *("--uds", str(path), "--workers", "2", "--keep-alive", "75"),
        *("--forwarded-allow-ips", "*", "--drain-delay", "0"),
    )
    process.wait_for_log(READY)
    yield path
    site.stop()


@pytest.fixture(scope="session")
def _two_ports(
    tmp_path_factory: pytest.TempPathFactory,
    _migrated_database: Path,
    _deploy_redis: RedisServer,
) -> Iterator[tuple[int, int]]:
    """Serve with a process on each of two ports."""
    site = Site(tmp_path_factory.mktemp("ports"), _migrated_database, _deploy_redis.url)
    ports = (free_port(), free_port())
    site.serve_on(ports, "--drain-delay", "0")
    yield ports
    site.stop()


@pytest.fixture(scope="module", params=FRONTS)
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """Return each proxy, before two processes."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "nginx-socket":
        path: Path = request.getfixturevalue("_two_workers")
        proxy = start_nginx(directory / "nginx", [f"unix:{path}"] * 2)
        places: list[Place] = [proxy]  # Any worker tells of all.
    else:
        ports: tuple[int, int] = request.getfixturevalue("_two_ports")
        proxy = start_proxy(request.param, directory, ports)
        places = [Place(port) for port in ports]
    yield Front(request.param, proxy, places, _log(request.param, directory))
    proxy.process.stop()


def _log(name: str, directory: Path) -> Path:
    if name.startswith("nginx"):
        return directory / "nginx" / "access.log"
    return directory / f"{name}.log"

"""Redis servers of a test's own: with a password, TLS, Sentinels, in a cluster."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from broadcasting.drivers.base import Presence
from broadcasting.drivers.redis.presence import RedisPresence
from broadcasting.drivers.redis.shards import ShardedPresence
from tests.conftest import end, find_program
from tests.drivers.contract import ManyNodesContract, Node
from tests.utils import free_port, wait_until


class RedisProcess:
    """
    A redis-server with options of its own; nothing on disk.

    Args:
        directory: Where it may write.
        options: As on its command line.
        login: redis-py's options of a client that may do everything.
    """

    def __init__(self, directory: Path, *options: str, **login: Any) -> None:
        self.port = free_port()
        self._directory = directory
        self._options = options
        self._login = login
        self._listen = "--tls-port" if login.get("ssl") else "--port"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self._directory / f"{self.port}.log"
        self._process = subprocess.Popen(
            [
                find_program("redis-server"),
                *self._before_options(),
                *("--bind", "127.0.0.1", "--dir", str(self._directory), "--logfile", str(log)),
                *("--port", "0", self._listen, str(self.port)),
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(self._answers, 10, "redis-server answers PING")
        except AssertionError:
            end(self._process)
            pytest.fail(f"redis-server does not start:\n{log.read_text()}", pytrace=False)

    def stop(self) -> None:
        """Kill it as a power cut would; return when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self) -> redis.Redis:
        """Return a client that may do everything."""
        where: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "socket_timeout": 5}
        return redis.Redis(**where | self._login)

    def _before_options(self) -> list[str]:
        # Replicas need not wait for others that might come, too.
        return ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False


class SentinelProcess(RedisProcess):
    """A Sentinel that watches over the master at `port`, and loses patience soon."""

    SERVICE = "mymaster"

    def __init__(self, directory: Path, port: int, password: str) -> None:
        super().__init__(directory, "--requirepass", password, password=password)
        config = directory / "sentinel.conf"
        config.write_text(
            f"sentinel monitor {self.SERVICE} 127.0.0.1 {port} 1\n"
            f"sentinel down-after-milliseconds {self.SERVICE} 500\n"
            f"sentinel failover-timeout {self.SERVICE} 3000\n"
        )
        self._config = config

    def _before_options(self) -> list[str]:
        return [str(self._config), "--sentinel"]


class ClusterNode(RedisProcess):
    """A node of a cluster."""

    def __init__(self, directory: Path) -> None:
        # The default is 10 000 above the other one, which need not exist.
        self.bus_port = free_port()
        super().__init__(
            directory,
            *("--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{self.bus_port}.conf"),
            *("--cluster-port", str(self.bus_port), "--cluster-node-timeout", "1000"),
        )

    @property
    def id(self) -> str:
        """How the cluster calls it."""
        with self.client() as client:
            name: str = client.execute_command("CLUSTER", "MYID").decode()
        return name


class RedisCluster:
    """Three masters that share the slots, and, on demand, a replica of the first."""

    SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.nodes = [self._new_node() for _ in self.SLOTS]

    @property
    def urls(self) -> list[str]:
        """The addresses of the masters."""
        return [f"redis://127.0.0.1:{node.port}" for node in self.nodes]

    def start(self) -> None:
        """Start the nodes and wait until they agree."""
        for node, slots in zip(self.nodes, self.SLOTS, strict=True):
            node.start()
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", node.port)
                self._introduce(client)
        wait_until(self._is_ready, 20, "the cluster is ready")

    def stop(self) -> None:
        """Kill all nodes."""
        for node in self.nodes:
            node.stop()

    def add_replica(self) -> ClusterNode:
        """Return a new replica of the first master, which is ready to take over."""
        replica = self._new_node()
        replica.start()
        self.nodes.append(replica)
        with replica.client() as client:
            self._introduce(client)
            wait_until(self._is_ready, 20, "the replica knows the cluster")
            client.execute_command("CLUSTER", "REPLICATE", self.nodes[0].id)
            wait_until(lambda: client.info("replication").get("master_link_status") == "up", 20)
        return replica

    def move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """Give `slot`, with its keys, to another node, as ``redis-cli --cluster reshard`` does."""
        source_id, target_id = source.id, target.id
        with source.client() as giver, target.client() as taker:
            taker.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            giver.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            while keys := giver.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                where = ("127.0.0.1", target.port, "", 0, 5000)
                giver.execute_command("MIGRATE", *where, "KEYS", *keys)
            taker.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
            giver.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def owner_of(self, slot: int) -> ClusterNode:
        """Return the node that serves `slot`, as the last one sees it."""
        with self.nodes[-1].client() as client:
            for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody serves slot {slot}")

    def _new_node(self) -> "ClusterNode":
        return ClusterNode(self._directory)

    def _introduce(self, client: redis.Redis) -> None:
        first = self.nodes[0]
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)

    def _is_ready(self) -> bool:
        for node in self.nodes:
            with node.client() as client:
                info = client.execute_command("CLUSTER", "INFO").decode().split()
            if not {"cluster_state:ok", f"cluster_known_nodes:{len(self.nodes)}"} <= set(info):
                return False
        return True


def parts_of(presence: Presence) -> list[RedisPresence]:
    """Return the presence in each part of the bus."""
    parts = presence._parts if isinstance(presence, ShardedPresence) else [presence]
    found = [part for part in parts if isinstance(part, RedisPresence)]
    assert len(found) == len(parts)
    return found


class RedisNodes(ManyNodesContract):
    """How time passes and nodes die on a bus of several parts. Subclasses give `stores`."""

    @pytest.fixture(autouse=True)
    def _nodes(self) -> None:
        self.nodes: list[Node] = []

    def stores(self) -> list[tuple[redis.Redis, str]]:
        """Return, for each part, a client and what stands before its keys."""
        raise NotImplementedError

    async def make_node(self, broadcaster: Any) -> Node:
        """Return a node, and remember that it lives."""
        node = await super().make_node(broadcaster)
        self.nodes.append(node)
        return node

    async def advance(self, seconds: float) -> None:
        """Set all that waits to an earlier time."""
        self._shift(seconds, "graces", "reports")

    async def kill(self, node: Node) -> None:
        """Set its last heartbeat to an earlier time, and let it say no more."""
        for part in parts_of(node.presence):
            part.node.name = ""
        await node.broker.close()
        self._shift(21, "nodes")
        self.nodes.remove(node)
        for living in self.nodes:
            await living.presence.expire()

    def _shift(self, seconds: float, *lists: str) -> None:
        for client, state in self.stores():
            for name in lists:
                for item in client.zrange(state + name, 0, -1):
                    client.zincrby(state + name, -seconds * 1000, item)  # type: ignore[arg-type]  # An item.


@contextmanager
def running(*servers: RedisProcess) -> Iterator[None]:
    """Start `servers`, one after the other, and kill them at the end."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()

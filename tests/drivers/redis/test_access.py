"""Redis over TLS, and with a user who may do only what is needed: the recipes of docs/redis.md."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.exceptions import NoPermissionError

from broadcasting.drivers.base import Broadcaster, Broker
from broadcasting.drivers.redis.broadcaster import RedisBroadcaster
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Message
from tests.conftest import ROOT
from tests.drivers.contract import FIRST, Inbox
from tests.drivers.redis.redis_servers import RedisCluster, RedisProcess, running
from tests.utils import await_until

DOCUMENT = ROOT / "docs" / "redis.md"


def recipe(user: str) -> list[str]:
    """Return what the document says about `user`, as arguments of ``ACL SETUSER``."""
    match = re.search(rf"^ACL SETUSER {user} (.+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert match, f"docs/redis.md has no recipe for {user}"
    return [user, *match[1].replace('"', "").split()]


def make_certificate(directory: Path) -> dict[str, Path]:
    """Write a key and a certificate for 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = {"key": directory / "redis.key", "certificate": directory / "redis.crt"}
    files["certificate"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files["key"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def refusals(client: redis.Redis) -> list[object]:
    """Return what users tried and may not, but for saying the name of their library."""
    return [entry for entry in client.acl_log() if "setinfo" not in str(entry["object"])]


async def use(broadcaster: Broadcaster) -> None:
    """Do all that a driver does."""
    broker, inbox = broadcaster.get_broker(), Inbox()
    await broker.connect(inbox)
    topic = "1:presence-cache-a"
    await broker.subscribe(topic)
    await await_until(lambda: broker.is_up)
    await broadcaster.abroadcast(["presence-cache-a", "other"], "One", "{}")
    await broker.publish(Message("1:presence-cache-a", "client-two", "{}", "1.1", "7"))
    await broker.publish(Message("1:presence-cache-a", "Three", "{}"))
    await broker.presence.join(topic, "e1", Member("7"), socket_id="1.1", limit=9)
    await broker.presence.count({topic: 1})
    await broker.presence.heartbeat({"1": 1})
    await broker.presence.leave(topic, "e1", grace=1)
    await broker.presence.join(topic, "e2", Member("7"), socket_id="1.1", limit=9)
    await broker.presence.leave(topic, "e2")
    await broker.presence.expire()
    assert await broker.presence.sizes([topic]) == {topic: (1, 0)}
    assert await broker.presence.occupied("1") == {"presence-cache-a": 1}
    assert await broker.cached(topic) is not None
    assert await broker.acquire_lease("restart", 60)
    await broker.release_lease("restart", after=1)
    await inbox.wait_for(5)
    await broker.unsubscribe(topic)
    await broker.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a key and its certificate."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_server(
    files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisProcess]:
    """Yield a server that speaks TLS only."""
    authority = str(files["certificate"])
    server = RedisProcess(
        tmp_path_factory.mktemp("server"),
        *("--tls-cert-file", authority, "--tls-key-file", str(files["key"])),
        *("--tls-ca-cert-file", authority, "--tls-auth-clients", "no"),
        ssl=True,
        ssl_ca_certs=authority,
    )
    with running(server):
        yield server


@pytest.fixture(scope="module")
def acl_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """Yield a server that knows the users of the recipes."""
    server = RedisProcess(
        tmp_path_factory.mktemp("acl"), *("--requirepass", "admin"), password="admin"
    )
    with running(server):
        with server.client() as client:
            for user in ("whik", "whik-publisher"):
                client.execute_command("ACL", "SETUSER", *recipe(user))
        yield server


class TestTls:
    """A server that speaks nothing else."""

    async def test_both_ends_work(self, tls_server: RedisProcess, files: dict[str, Path]) -> None:
        """With what the URL says about certificates."""
        url = f"rediss://127.0.0.1:{tls_server.port}/0?ssl_ca_certs={files['certificate']}"
        broadcaster = RedisBroadcaster(app=FIRST, first_app_id="1", url=url)
        await use(broadcaster)
        broadcaster.close()

    async def test_unknown_certificates_are_refused(self, tls_server: RedisProcess) -> None:
        """Unless the URL vouches for them."""
        url = f"rediss://127.0.0.1:{tls_server.port}/0"
        broadcaster = RedisBroadcaster(app=FIRST, first_app_id="1", url=url)
        with pytest.raises(BroadcastError, match="certificate verify failed"):
            await broadcaster.abroadcast(["whik"], "Hello", "{}")
        broker = broadcaster.get_broker()
        with pytest.raises(BroadcastError, match="certificate verify failed"):
            await broker.cached("1:cache-a")
        await broker.close()
        broadcaster.close()


class TestUsers:
    """Users of the recipes."""

    def make(self, acl_server: RedisProcess, user: str) -> RedisBroadcaster:
        """Return a write end of `user`, with the recipe's password and prefix."""
        url = f"redis://{user}:PASSWORD@127.0.0.1:{acl_server.port}/0"
        return RedisBroadcaster(app=FIRST, first_app_id="1", url=url, prefix="shop_")

    @pytest_asyncio.fixture
    async def broker(self, acl_server: RedisProcess) -> AsyncIterator[Broker]:
        """Yield the read end of the user who may only publish."""
        broker = self.make(acl_server, "whik-publisher").get_broker()
        yield broker
        await broker.close()

    async def test_a_server_process_may_do_what_it_needs(self, acl_server: RedisProcess) -> None:
        """And was refused nothing."""
        broadcaster = self.make(acl_server, "whik")
        await use(broadcaster)
        broadcaster.close()
        with acl_server.client() as client:
            assert refusals(client) == []

    async def test_a_publisher_may_publish(self, acl_server: RedisProcess) -> None:
        """On cache channels, too."""
        broadcaster = self.make(acl_server, "whik-publisher")
        await broadcaster.abroadcast(["whik", "cache-a"], "Hello", "{}")
        broadcaster.close()
        with acl_server.client() as client:
            assert refusals(client) == []

    async def test_a_publisher_may_not_read(self, acl_server: RedisProcess, broker: Broker) -> None:
        """Neither messages nor members; a refusal is an error like others."""
        with pytest.raises(BroadcastError, match="can't run this command"):
            await broker.presence.members("1:presence-a")
        login: dict[str, Any] = {"username": "whik-publisher", "password": "PASSWORD"}
        with redis.Redis(port=acl_server.port, **login) as client, pytest.raises(NoPermissionError):
            client.execute_command("SUBSCRIBE", "shop_whik")
        with acl_server.client() as client:
            client.acl_log_reset()

    @pytest.mark.parametrize("user", ["whik", "whik-publisher"])
    def test_other_keys_and_channels_are_out_of_reach(
        self, acl_server: RedisProcess, user: str
    ) -> None:
        """Somebody else's keys, another prefix's channels, and what rules a acl_server."""
        with redis.Redis(port=acl_server.port, username=user, password="PASSWORD") as client:
            for command in (
                ("SET", "session:1", "x"),
                ("PUBLISH", "other", "x"),
                ("FLUSHALL",),
                ("KEYS", "*"),
                ("CONFIG", "GET", "*"),
            ):
                with pytest.raises(NoPermissionError):
                    client.execute_command(*command)
        with acl_server.client() as client:
            client.acl_log_reset()


class TestClusterUser:
    """The user of a cluster."""

    async def test_may_do_what_it_needs(self, tmp_path: Path) -> None:
        """On every node."""
        cluster = RedisCluster(tmp_path)
        try:
            cluster.start()
            for node in cluster.nodes:
                with node.client() as client:
                    client.execute_command("ACL", "SETUSER", *recipe("whik-cluster"))
            url = f"redis://whik-cluster:PASSWORD@127.0.0.1:{cluster.nodes[0].port}"
            broadcaster = RedisBroadcaster(
                app=FIRST, first_app_id="1", url=url, prefix="shop_", cluster=True
            )
            await use(broadcaster)
            broadcaster.close()
            for node in cluster.nodes:
                with node.client() as client:
                    assert refusals(client) == []
        finally:
            cluster.stop()

"""Clients without a browser: what they receive, send and are refused."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.test import Client, TestCase, override_settings
from django.urls import include, path
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from broadcasting import (
    BroadcastError,
    EncryptedPrivateChannel,
    PresenceChannel,
    PrivateChannel,
    ShouldBroadcastNow,
    abroadcast_to,
    aevent,
    broadcast,
    broadcast_to,
    channel_authorizer,
    event,
    flush_debounced,
    terminate_user_connections,
)
from broadcasting.authorization import rules as authorization
from broadcasting.drivers.null import NullBroadcaster
from broadcasting.drivers.registry import broadcasters
from broadcasting.guests import Guest
from broadcasting.pytest_plugin import AConnect, Connect
from broadcasting.testing import (
    AsyncBroadcastClient,
    BroadcastClient,
    ClientError,
    ConnectionClosed,
    SubscriptionRefused,
    fake_broadcasts,
)
from broadcasting.views.auth import auth
from tests.testing.orders import OrderCounted, OrderShipped
from whik.factories import UserFactory

APP = {
    "ID": "1",
    "KEY": "key",
    "SECRET": "secret",
    "CLIENT_EVENTS": True,
    "ENCRYPTION_MASTER_KEY_BASE64": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "PRESENCE_GRACE": 0,
    "WEBHOOKS": [{"URL": "https://hooks.invalid/"}],
}
OTHER = {"ID": "2", "KEY": "other-key", "SECRET": "other-secret"}
OFF = {"ID": "3", "KEY": "off-key", "SECRET": "off-secret", "ENABLED": False}


@dataclass
class SaidAtOnce(ShouldBroadcastNow):
    """Is sent within a test's transaction."""

    channel: str

    def broadcast_on(self) -> str:
        return self.channel


def away(request: HttpRequest) -> HttpResponse:
    """Answer as a middleware that wants a login."""
    return HttpResponseRedirect("/login")


def ship(request: HttpRequest) -> HttpResponse:
    """Broadcast to everybody but the page that asks."""
    broadcast(OrderShipped(7), to_others=True)
    return HttpResponse()


urlpatterns = [
    path("", include("broadcasting.urls")),
    path("ship", ship),
    path("away", away),
    path("other/auth", auth, {"app_id": "2"}),
]

pytestmark = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Configure a default connection to another machine."""
    monkeypatch.setattr(authorization, "_rules", [])
    monkeypatch.setattr(authorization, "_sign_in_handlers", [])
    settings.BROADCASTING = {
        "DEFAULT": "hosted",
        "CONNECTIONS": {
            "hosted": {
                "DRIVER": "broadcasting.drivers.pusher.PusherBroadcaster",
                "URL": "http://127.0.0.1:1",
            },
            "second": {"DRIVER": "broadcasting.drivers.null.NullBroadcaster", "APP": "2"},
        },
        "APPS": [APP, OTHER, OFF],
    }

    @channel_authorizer("orders.{order:int}")
    def orders(user: AbstractBaseUser, order: int) -> bool:
        return bool(order == user.pk)

    @channel_authorizer("lobby", guests=True)
    def lobby(user: AbstractBaseUser | Guest) -> dict[str, object]:
        return {"name": "a guest" if isinstance(user, Guest) else user.get_username()}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Check that threads end and connections lead where they did."""
    yield
    assert "broadcast-site" not in [thread.name for thread in threading.enumerate()]
    assert isinstance(broadcasters["null"], NullBroadcaster)


class TestReceiving:
    def test_receives_the_events_of_its_channels(self) -> None:
        with BroadcastClient() as client:
            client.subscribe("orders")
            client.subscribe("b")
            client.unsubscribe("b")
            broadcast_to(["b", "c"], "Said", {})
            event(OrderShipped(7))
            received = client.receive("OrderShipped")
            client.assert_nothing_received()
        assert (received.event, received.channel) == ("OrderShipped", "orders")
        assert received.data == {"order": 7, "total": 5}

    def test_receive_leaves_other_events(self) -> None:
        with BroadcastClient() as client:
            client.subscribe("a")
            client.subscribe("b")
            for number, channel in enumerate("aba"):
                broadcast_to(channel, "Said", {"n": number})
            broadcast_to("a", "Done", {})
            assert client.receive("Done").data == {}
            assert client.receive("Said", channel="b").data == {"n": 1}
            assert [client.receive().data["n"] for _ in range(2)] == [0, 2]
            client.assert_nothing_received()

    def test_assertion_sees_everything_sent_before(self) -> None:
        with BroadcastClient() as client:
            client.subscribe("a")
            for _ in range(1000):
                broadcast_to("a", "Said", {})
            broadcast_to("a", "Last", {})
            with pytest.raises(AssertionError, match=r"^Last on a was received\."):
                client.assert_nothing_received("Last", channel="a")

    def test_failure_lists_what_was_received(self) -> None:
        with BroadcastClient() as client:
            client.subscribe("a")
            with pytest.raises(AssertionError, match=r"Done was not .* Nothing else was"):
                client.receive("Done", timeout=0.01)
            broadcast_to("a", "Said", {"n": 1})
            with pytest.raises(AssertionError) as caught:
                client.receive("Done", channel="b", timeout=0.01)
        assert str(caught.value).startswith("Done on b was not received")
        assert str(caught.value).endswith('\n  1. Said on a: {"n":1}')

    def test_its_own_page_can_be_left_out(self, client: Client) -> None:
        with BroadcastClient() as own, BroadcastClient() as other:
            own.subscribe("orders")
            other.subscribe("orders")
            client.post("/ship", headers={"X-Socket-ID": own.socket_id})
            other.receive("OrderShipped")
            own.assert_nothing_received()

    def test_every_connection_leads_to_it(self) -> None:
        with BroadcastClient() as first, BroadcastClient(app_id="2") as second:
            first.subscribe("a")
            second.subscribe("a")
            broadcast_to("a", "Said", {"n": 1}, via="memory")
            broadcast_to("a", "Said", {"n": 2}, via="second")
            assert first.receive().data == {"n": 1}
            assert second.receive().data == {"n": 2}
            first.assert_nothing_received()
            second.assert_nothing_received()

    def test_settings_may_change_meanwhile(self) -> None:
        with BroadcastClient() as client:
            client.subscribe("a")
            with override_settings(BROADCASTING={"DEFAULT": "log", "APPS": [APP]}):
                broadcast_to("a", "Said", {})
            client.receive("Said")

    def test_queued_and_debounced_events_arrive(self, settings: Settings) -> None:
        settings.BROADCASTING |= {"QUEUE": {"BACKEND": "tests.testing.orders.run_at_once"}}
        with BroadcastClient() as client:
            client.subscribe("orders")
            event(OrderShipped(7))
            client.receive("OrderShipped")
            for _ in range(3):
                event(OrderCounted(queue=False))
            client.assert_nothing_received()
            flush_debounced()
            client.receive("OrderCounted")
            client.assert_nothing_received()


@pytest.mark.django_db
class TestAuthorization:
    @pytest.mark.parametrize("redirects", [False, True])
    def test_user_may_subscribe(self, redirects: bool, client: Client, settings: Settings) -> None:
        settings.SECURE_SSL_REDIRECT = redirects
        user = UserFactory.create()
        client.force_login(user)
        channel = PrivateChannel(f"orders.{user.pk}")
        for socket in (BroadcastClient(user), BroadcastClient(client=client)):
            with socket:
                socket.subscribe(channel)
                event(SaidAtOnce(channel.name))
                socket.receive("SaidAtOnce", channel=channel)

    @pytest.mark.parametrize("channel", ["private-orders.0", "private-unknown", "private-lobby.x"])
    def test_refusal_says_why(self, channel: str) -> None:
        refused = pytest.raises(SubscriptionRefused)
        with BroadcastClient(UserFactory.create()) as client, refused as caught:
            client.subscribe(channel)
        assert (caught.value.channel, caught.value.status) == (channel, 403)
        assert channel in caught.value.reason
        assert caught.value.reason in str(caught.value)

    def test_a_guest_stays_the_same(self) -> None:
        with BroadcastClient() as client:
            client.subscribe("presence-lobby")
            (guest,) = client.members("presence-lobby")
            client.unsubscribe("presence-lobby")
            client.subscribe("presence-lobby")
            assert list(client.members("presence-lobby")) == [guest]

    def test_server_may_refuse(self) -> None:
        with BroadcastClient() as client:
            with pytest.raises(SubscriptionRefused) as caught:
                client.subscribe("no channel")
            assert (caught.value.channel, caught.value.status) == ("no channel", 400)
            client.subscribe("a")  # The refusal is over.

    def test_each_application_has_its_own_endpoint(self) -> None:
        user = UserFactory.create()
        with BroadcastClient(user, app_id="2", auth_url="/other/auth") as client:
            client.subscribe(f"private-orders.{user.pk}")
        with BroadcastClient(user, app_id="2") as client, pytest.raises(SubscriptionRefused):
            client.subscribe(f"private-orders.{user.pk}")

    def test_any_other_answer_refuses(self) -> None:
        refused = pytest.raises(SubscriptionRefused, match="302: Found")
        with BroadcastClient(auth_url="/away") as client, refused:
            client.subscribe("private-orders.1")

    def test_encrypted_data_is_opened(self) -> None:
        user = UserFactory.create()
        channel = EncryptedPrivateChannel(f"orders.{user.pk}")
        with BroadcastClient(user) as client:
            client.subscribe(channel)
            event(SaidAtOnce(channel.name))
            assert client.receive("SaidAtOnce").data == {"channel": channel.name}

    @pytest.mark.urls("tests.testing.no_urls")
    def test_missing_routes_are_reported(self) -> None:
        said = pytest.raises(ImproperlyConfigured, match=r'include\("broadcasting.urls"\)')
        with BroadcastClient() as client, said:
            client.subscribe("private-orders.1")


@pytest.mark.django_db
class TestTogether:
    def test_members_come_and_go(self, broadcast_client: Connect) -> None:
        ann, bob = UserFactory.create(), UserFactory.create()
        channel = PresenceChannel("lobby")
        first = broadcast_client(ann)
        first.subscribe(channel)
        assert first.members(channel) == {str(ann.pk): {"name": ann.username}}
        second = broadcast_client(bob)
        second.subscribe(channel)
        assert first.members(channel) == second.members(channel)
        assert first.receive("pusher:member_added").data["user_id"] == str(bob.pk)
        second.unsubscribe(channel)
        assert list(first.members(channel)) == [str(ann.pk)]
        second.subscribe(channel)
        second.close()
        assert list(first.members(channel)) == [str(ann.pk)]
        first.assert_nothing_received()  # What the protocol says is for who asks.

    def test_members_need_a_subscription(self) -> None:
        with BroadcastClient() as client, pytest.raises(ClientError, match="not a presence"):
            client.members("presence-lobby")

    def test_whispers_reach_the_others(self) -> None:
        ann = UserFactory.create()
        with BroadcastClient(ann) as own, BroadcastClient() as other:
            own.subscribe("presence-lobby")
            other.subscribe("presence-lobby")
            own.whisper("presence-lobby", "typing", {"on": True})
            own.whisper("presence-lobby", "raw", "not JSON")
            received = other.receive("client-typing")
            assert (received.data, received.user_id) == ({"on": True}, str(ann.pk))
            assert other.receive("client-raw").data == "not JSON"
            own.assert_nothing_received()
            own.subscribe("a")
            with pytest.raises(ClientError, match="only supported on private"):
                own.whisper("a", "typing", {})

    def test_signed_in_user_can_be_reached_and_disconnected(
        self, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        user = UserFactory.create()
        with BroadcastClient(user) as client:
            client.sign_in()
            event(SaidAtOnce(f"#server-to-user-{user.pk}"))
            client.receive("SaidAtOnce")
            with django_capture_on_commit_callbacks(execute=True):
                terminate_user_connections(user)
            assert client.wait_closed() == 4009
            with pytest.raises(ConnectionClosed, match="closed the connection with 4009"):
                client.subscribe("a")
            with pytest.raises(ConnectionClosed):
                client.receive()

    def test_a_visitor_cannot_sign_in(self) -> None:
        with BroadcastClient() as client, pytest.raises(SubscriptionRefused, match="Signing in"):
            client.sign_in()


class TestMistakes:
    def test_disabled_application_refuses_connections(self) -> None:
        with pytest.raises(ConnectionClosed) as caught, BroadcastClient(app_id="3"):
            pass
        assert caught.value.code == 4003

    def test_settings_may_be_mistaken(self, settings: Settings) -> None:
        with pytest.raises(ImproperlyConfigured, match="Known applications: 1, 2, 3"):
            BroadcastClient(app_id="9").__enter__()
        settings.BROADCASTING = {"DEFAULT": "nowhere"}
        with pytest.raises(ImproperlyConfigured, match="nowhere"):
            BroadcastClient().__enter__()

    def test_client_must_be_open(self) -> None:
        client = BroadcastClient()
        with pytest.raises(BroadcastError, match=r"with BroadcastClient\("):
            client.subscribe("a")
        ids = set()
        for _ in range(2):
            with client:
                ids.add(client.socket_id)
                with pytest.raises(BroadcastError, match="connected already"):
                    client.__enter__()
                client.subscribe("a")
        assert len(ids) == 2
        client.close()
        with pytest.raises(BroadcastError, match="not connected"):
            client.receive()

    def test_client_refuses_to_run_within_a_fake(self) -> None:
        with fake_broadcasts(), pytest.raises(BroadcastError, match="Broadcasts are faked"):
            BroadcastClient().__enter__()

    async def test_the_sync_client_is_refused_in_async_code(self) -> None:
        with pytest.raises(BroadcastError, match="AsyncBroadcastClient"):
            BroadcastClient().__enter__()

    def test_second_subscription_is_refused(self) -> None:
        with BroadcastClient() as client:
            client.subscribe("a")
            with pytest.raises(ClientError, match="Existing subscription to channel a"):
                client.subscribe("a")
            client.subscribe("b")

    def test_wait_closed_times_out(self) -> None:
        late = pytest.raises(AssertionError, match=r"not closed within 0\.01 s")
        with BroadcastClient() as client, late:
            client.wait_closed(timeout=0.01)


@pytest.mark.django_db(transaction=True)
class TestAsync:
    async def test_async_client_does_the_same(self, async_broadcast_client: AConnect) -> None:
        ann, bob = await make_user(), await make_user()
        first, second = await async_broadcast_client(ann), await async_broadcast_client(bob)
        await first.subscribe("presence-lobby")
        await second.subscribe("presence-lobby")
        assert set(await first.members("presence-lobby")) == {str(ann.pk), str(bob.pk)}
        await first.whisper("presence-lobby", "typing", {})
        await second.receive("client-typing", channel="presence-lobby")
        await second.unsubscribe("presence-lobby")
        assert set(await first.members("presence-lobby")) == {str(ann.pk)}
        await first.sign_in()
        await abroadcast_to(f"#server-to-user-{ann.pk}", "Said", {})
        await first.receive("Said")
        await first.assert_nothing_received()
        with pytest.raises(SubscriptionRefused):
            await first.subscribe("private-orders.0")
        await asyncio.to_thread(terminate_user_connections, ann)
        assert await first.wait_closed() == 4009

    async def test_several_may_wait_at_once(self) -> None:
        async with AsyncBroadcastClient() as client:
            await client.subscribe("orders")
            both = asyncio.gather(client.receive("Said"), client.receive("OrderShipped"))
            await aevent(OrderShipped(7))
            await abroadcast_to("orders", "Said", {})
            said, shipped = await both
        assert (said.event, shipped.event) == ("Said", "OrderShipped")

    async def test_it_closes_after_a_failure(self) -> None:
        with pytest.raises(KeyError):
            async with AsyncBroadcastClient():
                raise KeyError
        with pytest.raises(ConnectionClosed):
            await AsyncBroadcastClient(app_id="3").__aenter__()


class InTestCase(TestCase):
    """Django's test case, whose transaction is never committed."""

    def test_captured_commit_sends(self) -> None:
        with BroadcastClient() as client:
            client.subscribe("orders")
            with self.captureOnCommitCallbacks(execute=True):
                event(OrderShipped(7))
                client.assert_nothing_received()
            client.receive("OrderShipped")

    def test_events_that_wait_for_a_commit_are_named(self) -> None:
        broadcast_to("orders", "Said", {})
        with BroadcastClient() as client:
            client.subscribe("orders")
            event(OrderShipped(7))
            said = r"never makes: Said, OrderShipped\. Write: with self\.captureOnCommit"
            with pytest.raises(AssertionError, match=said):
                client.receive("OrderShipped", timeout=0.01)

    async def test_they_are_named_in_async_code(self) -> None:
        async with AsyncBroadcastClient() as client:
            await client.subscribe("orders")
            await aevent(OrderShipped(7))
            with pytest.raises(AssertionError, match="never makes: OrderShipped"):
                await client.receive("OrderShipped", timeout=0.01)


async def make_user() -> Any:
    """Return a new user."""
    return await sync_to_async(UserFactory.create)()

"""Fakes: what is recorded, what counts, and what a failed assertion says."""

import threading
import unittest
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import connection, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from broadcasting import (
    BroadcastNotification,
    PrivateChannel,
    abroadcast_to,
    aevent,
    broadcast,
    broadcast_to,
    event,
    listen,
    notify,
)
from broadcasting.events import dispatch
from broadcasting.exceptions import PayloadError
from broadcasting.middleware import _socket_id
from broadcasting.testing import Broadcasts
from broadcasting.testing import fake_broadcasts as fake
from tests.events.recording import RecordingBroadcaster
from tests.testing.orders import OrderCounted, OrderLost, OrderPaid, OrderShipped

RECEIPT = UUID(int=1)


@dataclass
class OrderReady(BroadcastNotification):
    """What a user is told."""

    order: int


def failure(assertion: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    """Return what `assertion` says when it fails."""
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **kwargs)
    return str(caught.value)


class TestRecording:
    def test_nothing_is_sent(self, driver: RecordingBroadcaster) -> None:
        """While the fake lasts; before and after it drivers are called."""
        event(OrderShipped(1))
        with fake() as broadcasts:
            event(OrderShipped(2))
            event(OrderPaid(RECEIPT))
            broadcast_to("orders", "Said", {})
        event(OrderShipped(3))
        assert [sent.data for sent in driver.sent] == [
            {"order": 1, "total": 5},
            {"order": 3, "total": 5},
        ]
        assert [record.event for record in broadcasts.sent] == ["OrderShipped", "OrderPaid", "Said"]

    def test_a_record_says_what_a_client_would_get(self, driver: RecordingBroadcaster) -> None:
        """And through what it would have gone."""
        instance = OrderPaid(RECEIPT)
        token = _socket_id.set("1.2")
        with fake() as broadcasts:
            broadcast(instance, to_others=True)
            broadcast_to(["a", "b"], "Said", {"n": 1}, via="memory")
        _socket_id.reset(token)
        paid, said = broadcasts.sent
        assert paid.instance is instance
        assert paid.channels == ("orders",)
        assert paid.data == {"receipt": str(RECEIPT), "buyer": {"id": 7, "tags": ["a", "b"]}}
        assert (paid.to_others, paid.socket_id, paid.is_now) == (True, "1.2", True)
        assert paid.connections == ("first",)
        assert (said.instance, said.channels, said.data) == (None, ("a", "b"), {"n": 1})
        assert (said.to_others, said.socket_id, said.is_now) == (False, None, False)
        assert said.connections == ("memory",)

    def test_listeners_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fake is about what leaves."""
        monkeypatch.setattr(dispatch, "_listeners", {})
        heard: list[OrderShipped] = []
        listen(OrderShipped)(heard.append)
        with fake():
            event(OrderShipped(1))
        assert heard == [OrderShipped(1)]

    def test_mistakes_are_raised(self) -> None:
        """As without a fake: what cannot be sent is not recorded."""
        with fake() as broadcasts:
            with pytest.raises(ValueError, match="cannot name a channel"):
                broadcast_to("no channel", "Said", {})
            broadcasts.assert_nothing_broadcast()

    def test_too_much_data_is_raised(self) -> None:
        """Where it would be sent, the log alone would say so."""
        with fake() as broadcasts:
            with pytest.raises(PayloadError, match="has 10251 bytes and the limit is 10240"):
                broadcast_to("a", "Said", {"text": "x" * 10_240})
            broadcasts.assert_nothing_broadcast()

    def test_threads_are_heard(self) -> None:
        """As a live server's are."""
        with fake() as broadcasts:
            thread = threading.Thread(target=event, args=(OrderShipped(1),))
            thread.start()
            thread.join()
        broadcasts.assert_broadcast(OrderShipped, times=1)

    def test_inner_fake_hides_nothing_from_the_outer_one(
        self, driver: RecordingBroadcaster
    ) -> None:
        """Each has what was broadcast while it lasted, in whatever order they end."""
        first, second = fake(), fake()
        outer = first.__enter__()
        event(OrderShipped(1))
        inner = second.__enter__()
        event(OrderShipped(2))
        first.__exit__(None, None, None)
        event(OrderShipped(3))
        second.__exit__(None, None, None)
        assert [record.data["order"] for record in outer.sent] == [1, 2]
        assert [record.data["order"] for record in inner.sent] == [2, 3]
        assert driver.sent == []
        event(OrderShipped(4))
        assert len(driver.sent) == 1

    def test_it_ends_with_an_exception(self, driver: RecordingBroadcaster) -> None:
        """The next test is not concerned."""
        with pytest.raises(KeyError), fake():
            raise KeyError
        event(OrderShipped(1))
        assert len(driver.sent) == 1

    def test_clear_forgets(self) -> None:
        """What a test has arranged need not be counted."""
        with fake() as broadcasts:
            event(OrderShipped(1))
            broadcasts.clear()
            broadcasts.assert_nothing_broadcast()

    async def test_async_twins_are_recorded(self) -> None:
        """They send from a thread."""
        with fake() as broadcasts:
            await aevent(OrderShipped(1))
            await abroadcast_to("orders", "Said", {})
        assert [record.event for record in broadcasts.sent] == ["OrderShipped", "Said"]


class TestDecorator:
    def test_a_function_is_given_the_broadcasts_if_it_asks(self) -> None:
        """By the name of the parameter; other arguments stay as they are."""

        @fake()
        def asks(order: int, broadcasts: Broadcasts) -> int:
            event(OrderShipped(order))
            broadcasts.assert_broadcast(OrderShipped, times=1)
            return order

        assert [asks(1), asks(order=2)] == [1, 2]  # type: ignore[call-arg]

    def test_a_function_need_not_ask(self, driver: RecordingBroadcaster) -> None:
        """Then it is quiet."""

        @fake()
        def quiet() -> None:
            event(OrderShipped(1))

        quiet()
        assert driver.sent == []

    async def test_a_coroutine_function_stays_one(self, driver: RecordingBroadcaster) -> None:
        """The fake lasts until it has ended, not until it is made."""

        @fake()
        async def asks(broadcasts: Broadcasts) -> None:
            await aevent(OrderShipped(1))
            broadcasts.assert_broadcast(OrderShipped)

        await asks()  # type: ignore[call-arg]
        assert driver.sent == []

    @fake()
    def test_pytest_sees_no_fixture_in_it(
        self, driver: RecordingBroadcaster, broadcasts: Broadcasts
    ) -> None:
        """The other parameters are fixtures as ever."""
        event(OrderShipped(1))
        broadcasts.assert_broadcast(OrderShipped)
        assert driver.sent == []

    def test_a_test_case_finds_them_in_itself(self, driver: RecordingBroadcaster) -> None:
        """From `setUp` on, each test its own."""

        @fake()
        class Case(unittest.TestCase):
            broadcasts: Broadcasts

            def setUp(self) -> None:
                event(OrderShipped(1))

            def tearDown(self) -> None:
                event(OrderShipped(2))

            def test_a(self) -> None:
                self.broadcasts.assert_broadcast(OrderShipped, times=1)

            test_b = test_a

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
        assert (result.testsRun, result.failures, result.errors) == (2, [], [])
        assert driver.sent == []


@fake()
class TestDecoratedClass:
    def test_each_test_is_faked(self, driver: RecordingBroadcaster, broadcasts: Broadcasts) -> None:
        """A class that is none of unittest's, too."""
        event(OrderShipped(1))
        broadcasts.assert_broadcast(OrderShipped, times=1)
        assert driver.sent == []

    async def test_async_ones_too(self, broadcasts: Broadcasts) -> None:
        """Each with records of its own."""
        await aevent(OrderShipped(2))
        broadcasts.assert_broadcast(OrderShipped, times=1)


@pytest.mark.django_db
class TestInATestsTransaction:
    def test_what_waits_for_a_commit_counts(self, fake_broadcasts: Broadcasts) -> None:
        """Nobody commits in a `TestCase`."""
        event(OrderShipped(1))
        with transaction.atomic():
            event(OrderShipped(2))
        fake_broadcasts.assert_broadcast(OrderShipped, times=2)
        assert [record.is_held for record in fake_broadcasts.sent] == [True, True]

    def test_what_does_not_wait_is_not_held(self, fake_broadcasts: Broadcasts) -> None:
        """A `ShouldBroadcastNow` leaves even if the transaction fails."""
        with suppress(KeyError), transaction.atomic():
            event(OrderPaid(RECEIPT))
            raise KeyError
        (record,) = fake_broadcasts.sent
        assert not record.is_held

    def test_what_a_savepoint_took_back_does_not_count(self, fake_broadcasts: Broadcasts) -> None:
        """Also what a block within had released already."""
        event(OrderShipped(1))
        with suppress(KeyError), transaction.atomic():
            event(OrderShipped(2))
            with transaction.atomic():
                event(OrderShipped(3))
            fake_broadcasts.assert_broadcast(OrderShipped, times=3)
            raise KeyError
        assert [record.data["order"] for record in fake_broadcasts.sent] == [1]
        assert [record.data["order"] for record in fake_broadcasts.rolled_back] == [2, 3]
        text = failure(fake_broadcasts.assert_broadcast, OrderShipped, with_={"order": 3})
        assert "OrderShipped was, but it was rolled back.\n" in text
        assert text.splitlines()[3] == (
            '  2. OrderShipped on private-orders.2, orders: {"order":2,"total":5} (rolled back)'
        )

    def test_a_commit_that_is_played_counts_once(
        self,
        fake_broadcasts: Broadcasts,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        """And for good: what is rolled back after a commit was sent."""
        with suppress(KeyError), transaction.atomic():
            with django_capture_on_commit_callbacks(execute=True) as callbacks:
                event(OrderShipped(1))
            raise KeyError
        assert len(callbacks) == 1
        fake_broadcasts.assert_broadcast(OrderShipped, times=1)
        assert not fake_broadcasts.sent[0].is_held


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestRealTransactions:
    def test_what_was_committed_counts_once(self, fake_broadcasts: Broadcasts) -> None:
        """Held until then."""
        with transaction.atomic():
            event(OrderShipped(1))
            assert fake_broadcasts.sent[0].is_held
        fake_broadcasts.assert_broadcast(OrderShipped, times=1)
        assert not fake_broadcasts.sent[0].is_held

    def test_what_was_rolled_back_does_not_count(self, fake_broadcasts: Broadcasts) -> None:
        """Whether by an exception or on demand."""
        with transaction.atomic():
            event(OrderShipped(1))
            transaction.set_rollback(True)
        fake_broadcasts.assert_not_broadcast(OrderShipped)
        assert len(fake_broadcasts.rolled_back) == 1

    def test_the_database_that_was_named_decides(self, fake_broadcasts: Broadcasts) -> None:
        """Another one's rollback does not concern it."""
        with transaction.atomic():
            with transaction.atomic("other"):
                broadcast(OrderShipped(1), using="other")
            transaction.set_rollback(True)
        assert not fake_broadcasts.assert_broadcast(OrderShipped)[0].is_held

    async def test_async_code_in_a_transaction(self, fake_broadcasts: Broadcasts) -> None:
        """The thread whose transaction it is may be another one than the test's."""

        def fails() -> None:
            with suppress(KeyError), transaction.atomic():
                async_to_sync(aevent)(OrderShipped(1))
                raise KeyError

        await sync_to_async(fails)()
        await aevent(OrderShipped(2))
        assert [record.data["order"] for record in fake_broadcasts.sent] == [2]
        await sync_to_async(lambda: connection.close())()  # That of its thread.


class TestQueues:
    @pytest.fixture(autouse=True)
    def _queue(self, settings: Settings) -> None:
        settings.BROADCASTING = {
            "QUEUE": {"BACKEND": "tests.testing.orders.refuse", "NAME": "events", "ALL": False}
        }

    def test_what_would_be_queued_is_recorded(self, fake_broadcasts: Broadcasts) -> None:
        """At once, and each one of those that would be debounced."""
        for _ in range(2):
            event(OrderCounted())
        event(OrderShipped(1))
        counted, _, shipped = fake_broadcasts.sent
        assert (counted.queue, counted.debounce) == ("events", 60)
        assert (shipped.queue, shipped.debounce) == (None, 0)

    def test_queues_are_a_condition(self, fake_broadcasts: Broadcasts) -> None:
        """One by its name, any, or none."""
        event(OrderCounted())
        event(OrderCounted("slow"))
        event(OrderCounted(False))
        assert_broadcast = fake_broadcasts.assert_broadcast
        assert_broadcast(OrderCounted, queue=True, times=2)
        assert_broadcast(OrderCounted, queue="slow", times=1)
        assert_broadcast(OrderCounted, queue=False, times=1)
        text = failure(assert_broadcast, OrderCounted("slow"), queue="fast")
        assert "OrderCounted was, but queued in slow instead of queued in fast.\n" in text
        assert "2. OrderCounted on orders: {} (queued in slow)" in text
        fake_broadcasts.clear()
        event(OrderCounted(False))
        text = failure(assert_broadcast, OrderCounted, queue=True)
        assert "OrderCounted was, but not queued instead of queued.\n" in text


class TestAssertions:
    @pytest.fixture(autouse=True)
    def _broadcast(self, fake_broadcasts: Broadcasts) -> None:
        self.broadcasts = fake_broadcasts
        event(OrderShipped(7))
        event(OrderLost(8, total=6))
        event(OrderPaid(RECEIPT))
        broadcast(OrderShipped(9), to_others=True, via="null")

    @pytest.mark.parametrize(
        ("what", "conditions", "times"),
        [
            (OrderShipped, {}, 3),  # A subclass, too.
            (OrderLost, {}, 1),
            ("OrderShipped", {}, 2),
            ("order:lost", {}, 1),
            ("OrderLost", {}, 0),  # Not its name for clients.
            (OrderShipped(7), {}, 1),
            (OrderShipped(7, total=6), {}, 0),
            (OrderShipped, {"on": "private-orders.7"}, 1),
            (OrderShipped, {"on": PrivateChannel("orders.7")}, 1),
            (OrderShipped, {"on": ["orders", PrivateChannel("orders.7")]}, 1),
            (OrderShipped, {"on": ["orders", "private-orders.10"]}, 0),
            (OrderShipped, {"on": lambda name: name.endswith(".9")}, 1),
            (OrderShipped, {"with_": {"total": 5}}, 2),
            (OrderShipped, {"with_": {"total": 5, "order": 7}}, 1),
            (OrderShipped, {"with_": {"tax": None}}, 0),
            (OrderShipped, {"with_": lambda data: data == {"order": 8, "total": 6}}, 1),
            (OrderPaid, {"with_": {"receipt": RECEIPT}}, 1),
            (OrderPaid, {"with_": {"buyer": {"id": 7}}}, 1),
            (OrderPaid, {"with_": {"buyer": {"tags": ("a", "b")}}}, 1),
            (OrderPaid, {"with_": {"buyer": {"tags": ["a"]}}}, 0),
            (OrderShipped, {"to_others": True}, 1),
            (OrderShipped, {"to_others": False}, 2),
            (OrderShipped, {"via": "null"}, 1),
            (OrderShipped, {"where": lambda record: record.is_now}, 0),
            (OrderPaid, {"where": lambda record: record.is_now}, 1),
        ],
    )
    def test_conditions(self, what: Any, conditions: dict[str, Any], times: int) -> None:
        """All of them hold of what is found, and the two assertions are opposites."""
        found = self.broadcasts.assert_broadcast(what, **conditions, times=times)
        assert len(found) == times
        if times:
            assert self.broadcasts.assert_broadcast(what, **conditions) == found
            failure(self.broadcasts.assert_not_broadcast, what, **conditions)
        else:
            failure(self.broadcasts.assert_broadcast, what, **conditions)
            self.broadcasts.assert_not_broadcast(what, **conditions)

    @pytest.mark.parametrize(
        ("what", "conditions", "said"),
        [
            (
                OrderShipped,
                {"on": "private-orders.1", "with_": {"order": 7}},
                'OrderShipped on private-orders.1 with {"order":7} was not broadcast. '
                "OrderShipped was, but on private-orders.7, orders instead of private-orders.1.\n",
            ),
            (
                OrderPaid,
                {"with_": {"buyer": {"id": 8, "name": "x"}}},
                "OrderPaid was, but with buyer.id 7 instead of 8 and without buyer.name.\n",
            ),
            ("order:lost", {"to_others": True}, "order:lost was, but to everybody.\n"),
            (OrderPaid, {"via": "null"}, "OrderPaid was, but via memory instead of null.\n"),
            (
                OrderPaid,
                {"on": str.isdigit, "where": lambda record: False},
                "OrderPaid was, but on orders, of which isdigit() is false "
                "and <lambda>() is false of it.\n",
            ),
            (
                OrderPaid,
                {"with_": lambda data: False},
                "OrderPaid with <lambda>() was not broadcast. "
                "OrderPaid was, but <lambda>() is false of its data.\n",
            ),
            (
                OrderPaid(UUID(int=2)),
                {},
                f"OrderPaid was, but it is {OrderPaid(RECEIPT)!r}.\n",
            ),
            ("Missing", {}, "Missing was not broadcast.\nBroadcast so far:\n"),
        ],
    )
    def test_failure_names_the_nearest(
        self, what: Any, conditions: dict[str, Any], said: str
    ) -> None:
        """And in what it differs."""
        assert said in failure(self.broadcasts.assert_broadcast, what, **conditions)

    def test_failure_lists_what_was_broadcast(self) -> None:
        """A line each."""
        text = failure(self.broadcasts.assert_broadcast, "Missing")
        assert text.splitlines()[1:] == [
            "Broadcast so far:",
            '  1. OrderShipped on private-orders.7, orders: {"order":7,"total":5}',
            '  2. order:lost on private-orders.8, orders: {"order":8,"total":6}',
            f'  3. OrderPaid on orders: {{"receipt":"{RECEIPT}",'
            '"buyer":{"id":7,"tags":["a","b"]}}',
            '  4. OrderShipped on private-orders.9, orders: {"order":9,"total":5} (to others)',
        ]

    def test_long_lists_and_data_are_cut(self) -> None:
        """A failure is to be read."""
        self.broadcasts.clear()
        for number in range(25):
            broadcast_to("a", "Said", {"text": "x" * 300, "number": number})
        lines = failure(self.broadcasts.assert_nothing_broadcast).splitlines()
        assert lines[0] == "25 events were broadcast."
        assert len(lines) == 23
        assert lines[-1] == "  and 5 more"
        assert lines[2] == '  1. Said on a: {"text":"' + "x" * 190 + "…"

    def test_wrong_number_is_told(self) -> None:
        """Both numbers."""
        text = failure(self.broadcasts.assert_broadcast, OrderShipped, times=1)
        assert text.startswith("OrderShipped was broadcast 3 times instead of once.\n")
        text = failure(self.broadcasts.assert_broadcast, "order:lost", times=0)
        assert text.startswith("order:lost was broadcast once instead of never.\n")

    def test_unwanted_one_is_told(self) -> None:
        """With the list."""
        text = failure(self.broadcasts.assert_not_broadcast, OrderLost, on="orders")
        assert text.startswith("OrderLost on orders was broadcast once.\nBroadcast so far:\n")

    def test_nothing_is_told_as_such(self) -> None:
        """There is no list then."""
        self.broadcasts.clear()
        self.broadcasts.assert_nothing_broadcast()
        text = failure(self.broadcasts.assert_broadcast, OrderShipped)
        assert text == "OrderShipped was not broadcast.\nNothing was broadcast."

    @pytest.mark.parametrize("what", [object, int, 7, dict])
    def test_what_is_never_broadcast_is_a_mistake(self, what: Any) -> None:
        """Else the assertion that it was not would always hold."""
        with pytest.raises(TypeError, match="is never broadcast"):
            self.broadcasts.assert_not_broadcast(what)

    @pytest.mark.parametrize("what", [User, User(username="ann")])
    def test_rows_are_asserted_by_the_names_of_their_events(self, what: Any) -> None:
        """Which the mistake says."""
        with pytest.raises(TypeError, match="Name that, as in 'UserCreated'"):
            self.broadcasts.assert_broadcast(what)

    def test_notification_is_asserted_as_what_it_is(self) -> None:
        """By its class or by an equal one, in place of the event that carries it."""
        self.broadcasts.assert_not_broadcast(OrderReady)
        notify(User.from_db("default", ["id"], [7]), OrderReady(1))
        channel = PrivateChannel("auth.User.7")
        self.broadcasts.assert_broadcast(OrderReady, on=channel, with_={"order": 1}, times=1)
        self.broadcasts.assert_broadcast(BroadcastNotification, times=1)
        self.broadcasts.assert_broadcast(OrderReady(1), times=1)
        text = failure(self.broadcasts.assert_broadcast, OrderReady(2))
        assert text.startswith("OrderReady(order=2) was not broadcast.")
        assert "but it is OrderReady(order=1)." in text

    def test_no_channel_is_a_mistake(self) -> None:
        """An event on none is not sent at all."""
        with pytest.raises(ValueError, match="names no channel"):
            self.broadcasts.assert_broadcast(OrderShipped, on=[])

"""Fakes: what they record, and the messages of failed assertions."""

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
from tests.events.recording import RecordingBroadcaster as Recorder
from tests.testing.orders import OrderCounted, OrderLost, OrderPaid, OrderShipped

RECEIPT = UUID(int=1)


@dataclass
class OrderReady(BroadcastNotification):
    """What a user is told."""

    order: int


def failure(assertion: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    """Return the message of an assertion that fails."""
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **kwargs)
    return str(caught.value)


class TestRecording:
    def test_nothing_is_sent(self, driver: Recorder) -> None:
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

    def test_record_has_what_clients_would_receive(self, driver: Recorder) -> None:
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
        monkeypatch.setattr(dispatch, "_listeners", {})
        heard: list[OrderShipped] = []
        listen(OrderShipped)(heard.append)
        with fake():
            event(OrderShipped(1))
        assert heard == [OrderShipped(1)]

    def test_mistakes_are_raised(self) -> None:
        with fake() as broadcasts:
            with pytest.raises(ValueError, match="cannot name a channel"):
                broadcast_to("no channel", "Said", {})
            with pytest.raises(PayloadError, match="10251 bytes"):
                broadcast_to("a", "Said", {"text": "x" * 10_240})
            broadcasts.assert_nothing_broadcast()

    def test_events_of_other_threads_are_recorded(self) -> None:
        with fake() as broadcasts:
            thread = threading.Thread(target=event, args=(OrderShipped(1),))
            thread.start()
            thread.join()
        broadcasts.assert_broadcast(OrderShipped, times=1)
        broadcasts.clear()
        broadcasts.assert_nothing_broadcast()

    def test_fakes_may_overlap(self, driver: Recorder) -> None:
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


class TestDecorator:
    def test_function_receives_broadcasts_if_it_asks(self, driver: Recorder) -> None:
        @fake()
        def asks(order: int, broadcasts: Broadcasts) -> int:
            event(OrderShipped(order))
            broadcasts.assert_broadcast(OrderShipped, times=1)
            return order

        assert [asks(1), asks(order=2)] == [1, 2]  # type: ignore[call-arg]
        with pytest.raises(KeyError), fake():
            raise KeyError
        fake()(lambda: event(OrderShipped(3)))()
        assert driver.sent == []

    @fake()
    def test_pytest_sees_no_fixture_in_it(self, driver: Recorder, broadcasts: Broadcasts) -> None:
        event(OrderShipped(1))
        broadcasts.assert_broadcast(OrderShipped)
        assert driver.sent == []

    def test_each_test_of_a_test_case_is_faked(self, driver: Recorder) -> None:
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
    def test_each_test_is_faked(self, driver: Recorder, broadcasts: Broadcasts) -> None:
        event(OrderShipped(1))
        broadcasts.assert_broadcast(OrderShipped, times=1)
        assert driver.sent == []

    async def test_async_ones_too(self, broadcasts: Broadcasts) -> None:
        await aevent(OrderShipped(2))
        broadcasts.assert_broadcast(OrderShipped, times=1)


@pytest.mark.django_db
class TestInATestsTransaction:
    def test_held_events_count(self, fake_broadcasts: Broadcasts) -> None:
        """Unlike others, a `ShouldBroadcastNow` is not held, even if the transaction fails."""
        event(OrderShipped(1))
        with suppress(KeyError), transaction.atomic():
            event(OrderPaid(RECEIPT))
            raise KeyError
        assert [record.is_held for record in fake_broadcasts.sent] == [True, False]

    def test_events_of_a_rolled_back_savepoint_do_not_count(
        self, fake_broadcasts: Broadcasts
    ) -> None:
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

    def test_captured_commit_counts_once(
        self,
        fake_broadcasts: Broadcasts,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        with suppress(KeyError), transaction.atomic():
            with django_capture_on_commit_callbacks(execute=True) as callbacks:
                event(OrderShipped(1))
            raise KeyError
        assert len(callbacks) == 1
        fake_broadcasts.assert_broadcast(OrderShipped, times=1)
        assert not fake_broadcasts.sent[0].is_held


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestRealTransactions:
    def test_committed_event_counts_and_rolled_back_one_does_not(
        self, fake_broadcasts: Broadcasts
    ) -> None:
        for order in (1, 2):
            with transaction.atomic():
                event(OrderShipped(order))
                assert fake_broadcasts.sent[-1].is_held
                transaction.set_rollback(order == 2)
        (record,) = fake_broadcasts.assert_broadcast(OrderShipped, times=1)
        assert not record.is_held
        assert len(fake_broadcasts.rolled_back) == 1

    def test_database_may_be_named(self, fake_broadcasts: Broadcasts) -> None:
        with transaction.atomic():
            with transaction.atomic("other"):
                broadcast(OrderShipped(1), using="other")
            transaction.set_rollback(True)
        assert not fake_broadcasts.assert_broadcast(OrderShipped)[0].is_held

    async def test_async_code_in_a_transaction(self, fake_broadcasts: Broadcasts) -> None:
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

    def test_queued_events_are_recorded_at_once(self, fake_broadcasts: Broadcasts) -> None:
        for _ in range(2):
            event(OrderCounted())
        event(OrderShipped(1))
        counted, _, shipped = fake_broadcasts.sent
        assert (counted.queue, counted.debounce) == ("events", 60)
        assert (shipped.queue, shipped.debounce) == (None, 0)

    def test_queue_is_a_condition(self, fake_broadcasts: Broadcasts) -> None:
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
        found = self.broadcasts.assert_broadcast(what, **conditions, times=times)
        assert len(found) == times
        if times:
            assert self.broadcasts.assert_broadcast(what, **conditions) == found
            failure(self.broadcasts.assert_not_broadcast, what, **conditions)
        else:
            failure(self.broadcasts.assert_broadcast, what, **conditions)
            self.broadcasts.assert_not_broadcast(what, **conditions)

    @pytest.mark.parametrize(
        ("what", "conditions", "parts"),
        [
            (
                OrderShipped,
                {"on": "private-orders.1", "with_": {"order": 7}},
                ["on private-orders.7, orders instead of private-orders.1."],
            ),
            (
                OrderPaid,
                {"with_": {"buyer": {"id": 8, "name": "x"}}},
                ["with buyer.id 7 instead of 8", "without buyer.name"],
            ),
            ("order:lost", {"to_others": True}, ["order:lost was, but to everybody"]),
            (OrderPaid, {"via": "null"}, ["via memory instead of null"]),
            (
                OrderPaid,
                {"on": str.isdigit, "where": lambda record: False},
                ["orders, of which isdigit() is false", "<lambda>() is false of it"],
            ),
            (OrderPaid, {"with_": lambda data: False}, ["<lambda>() is false of its data"]),
            (OrderPaid(UUID(int=2)), {}, [f"it is {OrderPaid(RECEIPT)!r}"]),
            ("Missing", {}, ["Missing was not broadcast.\n"]),
        ],
    )
    def test_failure_names_the_nearest(
        self, what: Any, conditions: dict[str, Any], parts: list[str]
    ) -> None:
        text = failure(self.broadcasts.assert_broadcast, what, **conditions)
        for part in parts:
            assert part in text.partition("Broadcast so far:")[0]

    def test_failure_lists_all(self) -> None:
        lines = failure(self.broadcasts.assert_broadcast, "Missing").splitlines()
        assert len(lines) == 6
        assert lines[2] == '  1. OrderShipped on private-orders.7, orders: {"order":7,"total":5}'
        assert lines[5].endswith("(to others)")

    def test_long_lists_and_data_are_cut(self) -> None:
        self.broadcasts.clear()
        for number in range(25):
            broadcast_to("a", "Said", {"text": "x" * 300, "number": number})
        lines = failure(self.broadcasts.assert_nothing_broadcast).splitlines()
        assert lines[0] == "25 events were broadcast."
        assert len(lines) == 23
        assert lines[-1] == "  and 5 more"
        assert lines[2] == '  1. Said on a: {"text":"' + "x" * 190 + "…"

    def test_failure_begins_with_what_was_found(self) -> None:
        asserts = self.broadcasts.assert_broadcast
        assert "OrderShipped was broadcast 3 times instead of once.\n" in failure(
            asserts, OrderShipped, times=1
        )
        assert "order:lost was broadcast once instead of never.\n" in failure(
            asserts, "order:lost", times=0
        )
        text = failure(self.broadcasts.assert_not_broadcast, OrderLost, on="orders")
        assert text.startswith("OrderLost on orders was broadcast once.\nBroadcast so far:\n")
        self.broadcasts.clear()
        self.broadcasts.assert_nothing_broadcast()
        assert "not broadcast.\nNothing was broadcast." in failure(asserts, OrderShipped)

    @pytest.mark.parametrize("what", [object, 7, User, User(username="ann")])
    def test_what_is_never_broadcast_is_refused(self, what: Any) -> None:
        with pytest.raises(TypeError, match="is never broadcast") as caught:
            self.broadcasts.assert_not_broadcast(what)
        assert ("'UserCreated'" in str(caught.value)) == ("User" in repr(what))

    def test_notifications_can_be_asserted(self) -> None:
        self.broadcasts.assert_not_broadcast(OrderReady)
        notify(User.from_db("default", ["id"], [7]), OrderReady(1))
        channel = PrivateChannel("auth.User.7")
        self.broadcasts.assert_broadcast(OrderReady, on=channel, with_={"order": 1}, times=1)
        self.broadcasts.assert_broadcast(BroadcastNotification, times=1)
        self.broadcasts.assert_broadcast(OrderReady(1), times=1)
        text = failure(self.broadcasts.assert_broadcast, OrderReady(2))
        assert text.startswith("OrderReady(order=2) was not broadcast.")
        assert "but it is OrderReady(order=1)." in text

    def test_empty_list_of_channels_is_refused(self) -> None:
        with pytest.raises(ValueError, match="names no channel"):
            self.broadcasts.assert_broadcast(OrderShipped, on=[])

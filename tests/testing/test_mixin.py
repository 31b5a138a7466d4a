"""The mixin, in Django's own test cases, as a project's tests would use it."""

import unittest
from typing import Any

import pytest
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from broadcasting import aevent, broadcast_to, event
from broadcasting.testing import BroadcastTestMixin, fake_broadcasts
from tests.events.recording import RecordingBroadcaster
from tests.testing.orders import OrderLost, OrderShipped
from whik.models import Thing


class DatabaseTests(BroadcastTestMixin, TestCase):
    """A transaction around everything, which is never committed."""

    @classmethod
    def setUpTestData(cls) -> None:
        """What is made for all tests is no test's."""
        event(OrderShipped(1))

    def setUp(self) -> None:
        """What is made for each test is the test's."""
        event(OrderShipped(2))

    def test_looks_at_once(self) -> None:
        """Nothing need be committed."""
        event(OrderLost(3))
        self.assertBroadcast(OrderShipped, times=2)
        self.assertBroadcast(OrderLost, on="private-orders.3", with_={"order": 3}, times=1)
        self.assertNotBroadcast(OrderShipped, on="private-orders.1")

    def test_has_nothing_of_the_others(self) -> None:
        """Each test has records of its own."""
        self.assertBroadcast(OrderShipped, times=1)

    def test_leaves_out_what_was_rolled_back(self) -> None:
        """In the test's own block."""
        self.broadcasts.clear()
        with transaction.atomic():
            event(OrderLost(3))
            transaction.set_rollback(True)
        self.assertNothingBroadcast()

    def test_sees_what_a_model_broadcasts(self) -> None:
        """By its name for clients; a row may stand for its data."""
        thing = Thing.objects.create(name="Apple")
        self.assertBroadcast("thing:create", on="things", with_={"model": thing}, times=1)
        self.assertBroadcast("thing:create", with_={"model": {"name": "Apple"}})
        self.assertNotBroadcast("thing:update")

    def test_counts_a_played_commit_once(self) -> None:
        """As Django's own helper plays it."""
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            event(OrderLost(3))
        assert len(callbacks) == 1
        self.assertBroadcast(OrderLost, times=1)

    async def test_async(self) -> None:
        """Django runs it so that its sync code shares the test's transaction."""
        await aevent(OrderLost(3))
        (record,) = self.assertBroadcast(OrderLost)
        assert record.is_held

    @fake_broadcasts()
    def test_has_what_a_decorator_fakes(self) -> None:
        """A fake within a fake hides nothing."""
        event(OrderLost(3))
        self.assertBroadcast(OrderLost)


class RealTransactionTests(BroadcastTestMixin, TransactionTestCase):
    """Transactions are the test's own."""

    def test_commit(self) -> None:
        """It counts once, before and after."""
        with transaction.atomic():
            event(OrderShipped(1))
            self.assertBroadcast(OrderShipped, times=1)
        self.assertBroadcast(OrderShipped, times=1)

    def test_rollback(self) -> None:
        """It never happened."""
        with transaction.atomic():
            event(OrderShipped(1))
            transaction.set_rollback(True)
        self.assertNotBroadcast(OrderShipped)

    async def test_async(self) -> None:
        """There is no transaction, so nothing is held."""
        await aevent(OrderShipped(1))
        (record,) = self.assertBroadcast(OrderShipped)
        assert not record.is_held


class SimpleTests(BroadcastTestMixin, SimpleTestCase):
    """Django's test case without a database."""

    def test_no_query_is_made(self) -> None:
        """Looking whether there is a transaction needs no connection."""
        broadcast_to("orders", "Said", {"n": 1})
        self.assertBroadcast("Said", with_={"n": 1})


class AsyncioTests(BroadcastTestMixin, unittest.IsolatedAsyncioTestCase):
    """Python's own."""

    async def test_async(self) -> None:
        """Django need not be there to run it."""
        await aevent(OrderShipped(1))
        self.assertBroadcast(OrderShipped)


def result_of(case: type[unittest.TestCase]) -> unittest.TestResult:
    """Run the tests of `case` as `manage.py test` does."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_nothing_is_sent_by_a_test(driver: RecordingBroadcaster) -> None:
    """From `setUp` to the last cleanup, whether or not `setUp` calls its parent's."""

    class Case(BroadcastTestMixin, unittest.TestCase):
        def setUp(self) -> None:
            event(OrderShipped(1))
            self.addCleanup(event, OrderShipped(3))

        def tearDown(self) -> None:
            event(OrderShipped(2))

        def test(self) -> None:
            self.assertBroadcast(OrderShipped, times=1)

    result = result_of(Case)
    assert (result.testsRun, result.failures, result.errors) == (1, [], [])
    assert driver.sent == []


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("assertBroadcast", (OrderLost,), "OrderLost was not broadcast."),
        ("assertNotBroadcast", (OrderShipped,), "OrderShipped was broadcast once."),
        ("assertNothingBroadcast", (), "1 event was broadcast."),
    ],
)
def test_traceback_ends_in_the_test(name: str, arguments: tuple[Any, ...], said: str) -> None:
    """It is a failure and no error; our own lines are left out."""

    class Case(BroadcastTestMixin, unittest.TestCase):
        def test(self) -> None:
            event(OrderShipped(1))
            getattr(self, name)(*arguments)

    ((_, text),) = result_of(Case).failures
    assert f"AssertionError: {said}\nBroadcast so far:" in text
    assert "getattr(self, name)(*arguments)" in text
    assert "broadcasting/testing" not in text

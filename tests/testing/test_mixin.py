"""The mixin in test cases of Django and unittest, as projects use it."""

import unittest
from typing import Any

import pytest
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from broadcasting import aevent, broadcast_to, event
from broadcasting.testing import BroadcastTestMixin
from tests.events.recording import RecordingBroadcaster as Recorder
from tests.testing.orders import OrderLost, OrderShipped
from whik.models import Thing


class DatabaseTests(BroadcastTestMixin, TestCase):
    """A transaction around everything, which is never committed."""

    @classmethod
    def setUpTestData(cls) -> None:
        """Is not recorded."""
        event(OrderShipped(1))

    def setUp(self) -> None:
        """Is recorded for each test."""
        event(OrderShipped(2))

    def test_nothing_need_be_committed(self) -> None:
        event(OrderLost(3))
        self.assertBroadcast(OrderShipped, times=2)
        self.assertBroadcast(OrderLost, on="private-orders.3", with_={"order": 3}, times=1)
        self.assertNotBroadcast(OrderShipped, on="private-orders.1")

    def test_each_test_has_its_own_records(self) -> None:
        self.assertBroadcast(OrderShipped, times=1)

    def test_model_events(self) -> None:
        thing = Thing.objects.create(name="Apple")
        self.assertBroadcast("thing:create", on="things", with_={"model": thing}, times=1)
        self.assertBroadcast("thing:create", with_={"model": {"name": "Apple"}})
        self.assertNotBroadcast("thing:update")

    async def test_async(self) -> None:
        await aevent(OrderLost(3))
        (record,) = self.assertBroadcast(OrderLost)
        assert record.is_held


class RealTransactionTests(BroadcastTestMixin, TransactionTestCase):
    """There is no transaction around the test."""

    async def test_async(self) -> None:
        await aevent(OrderShipped(1))
        (record,) = self.assertBroadcast(OrderShipped)
        assert not record.is_held


class SimpleTests(BroadcastTestMixin, SimpleTestCase):
    """Django's test case without a database."""

    def test_no_query_is_made(self) -> None:
        broadcast_to("orders", "Said", {"n": 1})
        self.assertBroadcast("Said", with_={"n": 1})


class AsyncioTests(BroadcastTestMixin, unittest.IsolatedAsyncioTestCase):
    """Python's own."""

    async def test_async(self) -> None:
        await aevent(OrderShipped(1))
        self.assertBroadcast(OrderShipped)


def result_of(case: type[unittest.TestCase]) -> unittest.TestResult:
    """Run the tests of `case` as `manage.py test` does."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_nothing_is_sent_by_a_test(driver: Recorder) -> None:
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
    class Case(BroadcastTestMixin, unittest.TestCase):
        def test(self) -> None:
            event(OrderShipped(1))
            getattr(self, name)(*arguments)

    ((_, text),) = result_of(Case).failures
    assert f"AssertionError: {said}\nBroadcast so far:" in text
    assert "getattr(self, name)(*arguments)" in text
    assert "broadcasting/testing" not in text

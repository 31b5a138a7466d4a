"""Assertions on broadcasts, for test cases of ``unittest`` and Django."""

import unittest
from typing import TYPE_CHECKING, Unpack

from .fakes import Broadcasts, fake_broadcasts
from .records import Conditions, RecordedBroadcast, Wanted

__unittest = True  # The traceback of a failed assertion ends in the test.

if TYPE_CHECKING:
    _Base = unittest.TestCase
else:
    _Base = object


class BroadcastTestMixin(_Base):
    """
    Record what each test broadcasts, and send nothing. Write it before the test case's class.

    Events of ``setUp`` are recorded, those of ``setUpTestData`` are not.

    Attributes:
        broadcasts: What the test has broadcast so far.
    """

    broadcasts: Broadcasts

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test with broadcasts faked, from ``setUp`` to the last cleanup."""
        with fake_broadcasts() as self.broadcasts:
            return super().run(result)

    def assertBroadcast(
        self, what: Wanted, *, times: int | None = None, **conditions: Unpack[Conditions]
    ) -> list[RecordedBroadcast]:
        """Fail unless such an event was broadcast. See `Broadcasts.assert_broadcast`."""
        __tracebackhide__ = True  # Of pytest.
        return self.broadcasts.assert_broadcast(what, times=times, **conditions)

    def assertNotBroadcast(self, what: Wanted, **conditions: Unpack[Conditions]) -> None:
        """Fail if such an event was broadcast. See `Broadcasts.assert_broadcast`."""
        __tracebackhide__ = True
        self.broadcasts.assert_not_broadcast(what, **conditions)

    def assertNothingBroadcast(self) -> None:
        """Fail if anything was broadcast."""
        __tracebackhide__ = True
        self.broadcasts.assert_nothing_broadcast()

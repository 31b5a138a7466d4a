"""The driver that does nothing."""

from broadcasting.applications import Application
from broadcasting.drivers.base import Broadcaster
from broadcasting.drivers.null import NullBroadcaster
from tests.drivers.contract import FIRST, BroadcasterContract


class TestNullBroadcaster(BroadcasterContract):
    """The contract of a write end."""

    def make(self, app: Application = FIRST) -> Broadcaster:
        """Return a write end."""
        return NullBroadcaster(app=app, first_app_id="1")

    async def test_has_no_read_end(self, broadcaster: Broadcaster) -> None:
        """A server cannot read from nothing."""
        assert not broadcaster.can_be_read

"""The driver that writes to the log."""

import pytest

from broadcasting.applications import Application
from broadcasting.drivers.base import Broadcaster
from broadcasting.drivers.log import LogBroadcaster
from tests.drivers.contract import FIRST, BroadcasterContract


class TestLogBroadcaster(BroadcasterContract):
    """The contract of a write end, and the record it writes."""

    def make(self, app: Application = FIRST) -> Broadcaster:
        """Return a write end."""
        return LogBroadcaster(app=app, first_app_id="1")

    async def test_writes_one_record(
        self, broadcaster: Broadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A message is one INFO record with event, channels and indented data."""
        with caplog.at_level("INFO", "broadcasting.drivers"):
            broadcaster.broadcast(["a", "b"], "Hello", '{"name":"휙"}')
        (record,) = caplog.records
        assert record.levelname == "INFO"
        assert record.getMessage() == (
            'Broadcasting [Hello] on channels [a, b] with data:\n{\n  "name": "휙"\n}'
        )

    async def test_names_the_excluded_socket(
        self, broadcaster: Broadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whom the message is kept from is worth knowing, too."""
        with caplog.at_level("INFO", "broadcasting.drivers"):
            broadcaster.broadcast(["a"], "Hello", "{}", socket_id="5.7")
        assert "on channels [a] but socket 5.7 with data" in caplog.text

"""Brokers that wait for their bus as patiently as the tests do."""

from collections.abc import Iterator

import pytest

from broadcasting.drivers.channel_layer.broker import ChannelLayerBroker
from broadcasting.drivers.redis.reader import Reader
from tests.utils import PATIENCE


@pytest.fixture(autouse=True, scope="session")
def _patience() -> Iterator[None]:
    """A busy machine may take longer than the seconds after which a page is sent away."""
    with pytest.MonkeyPatch.context() as patch:
        for broker in (ChannelLayerBroker, Reader):
            patch.setattr(broker, "CONFIRM_TIMEOUT", PATIENCE)
        yield

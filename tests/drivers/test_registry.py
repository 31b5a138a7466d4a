"""Connections by alias, and which of them a server process reads."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Unpack
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from broadcasting.conf import get_settings
from broadcasting.drivers.base import Broadcaster, Broker, Common
from broadcasting.drivers.channel_layer.broadcaster import ChannelLayerBroadcaster
from broadcasting.drivers.log import LogBroadcaster
from broadcasting.drivers.memory import MemoryBroadcaster, MemoryBroker
from broadcasting.drivers.null import NullBroadcaster
from broadcasting.drivers.registry import (
    broadcasters,
    close_broker,
    get_broker,
    server_broadcaster,
    warn_of_other_address,
)

MEMORY = "broadcasting.drivers.memory.MemoryBroadcaster"
HERE = f"{__name__}.OptionBroadcaster"


class OptionBroadcaster(NullBroadcaster):
    """A driver of a project's own, with one option; it notes when it is closed."""

    def __init__(self, *, size: int = 1, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.size = size
        self.closed = 0

    def close(self) -> None:
        """Note it."""
        self.closed += 1


class PickyBroadcaster(NullBroadcaster):
    """A driver that looks at the value of its option."""

    def __init__(self, *, size: int, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        if size < 0:
            raise ValueError("size is below 0")


def not_a_broadcaster(**options: object) -> None:
    """Something that can be imported."""


def using(**broadcasting: Any) -> override_settings:
    """Return the settings of a project, for a ``with``."""
    return override_settings(BROADCASTING=broadcasting)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Drivers made by a test are not left to the next."""
    broadcasters.close_all()
    yield
    broadcasters.close_all()


class TestBroadcasters:
    def test_an_alias_has_one_object(self) -> None:
        """Made on first use, for all threads."""
        made: list[Broadcaster] = []
        threads = [
            threading.Thread(target=lambda: made.append(broadcasters["memory"])) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 20
        assert set(made) == {broadcasters["memory"]}
        assert isinstance(made[0], MemoryBroadcaster)

    def test_only_one_is_made_however_long_that_takes(self) -> None:
        """Threads that ask meanwhile wait for it."""
        begun, go_on = threading.Event(), threading.Event()
        made: list[Broadcaster] = []

        class Slow(OptionBroadcaster):
            def __init__(self, **options: Any) -> None:
                begun.set()
                assert go_on.wait(60)
                super().__init__(**options)

        with (
            using(CONNECTIONS={"x": {"DRIVER": HERE}}),
            mock.patch("tests.drivers.test_registry.OptionBroadcaster", Slow),
        ):
            threads = [
                threading.Thread(target=lambda: made.append(broadcasters["x"])) for _ in range(2)
            ]
            threads[0].start()
            assert begun.wait(60)
            threads[1].start()
            go_on.set()
            for thread in threads:
                thread.join(60)
        assert len(made) == 2
        assert made[0] is made[1]

    def test_options_reach_the_driver(self) -> None:
        """In lower case, beside its application."""
        with using(
            APPS=[
                {"ID": "7", "KEY": "a", "SECRET": "s"},
                {"ID": "8", "KEY": "b", "SECRET": "s"},
            ],
            CONNECTIONS={"x": {"DRIVER": HERE, "APP": "8", "SIZE": 5}},
        ):
            driver = broadcasters["x"]
            assert isinstance(driver, OptionBroadcaster)
            assert (driver.app.id, driver.first_app_id, driver.size) == ("8", "7", 5)

    def test_closing_closes_each_and_makes_new_ones(self) -> None:
        """The next use begins anew."""
        with using(CONNECTIONS={"x": {"DRIVER": HERE}}):
            driver = broadcasters["x"]
            assert isinstance(driver, OptionBroadcaster)
            broadcasters.close_all()
            assert driver.closed == 1
            assert broadcasters["x"] is not driver

    def test_others_may_be_made_for_a_while(self) -> None:
        """Those that were there are left open, and come back."""
        with using(CONNECTIONS={"x": {"DRIVER": HERE}}):
            driver = broadcasters["x"]
            other = NullBroadcaster(app=get_settings().apps[0], first_app_id="1")
            with broadcasters.made_by(lambda connection: other):
                assert broadcasters["x"] is broadcasters["memory"] is other
            assert broadcasters["x"] is driver
            assert broadcasters["memory"] is not other
            assert isinstance(driver, OptionBroadcaster)
            assert driver.closed == 0

    @pytest.mark.parametrize(
        "settings",
        [{"BROADCASTING": {}}, {"CHANNEL_LAYERS": {}}, {"SECRET_KEY": "another"}],
        ids=str,
    )
    def test_overridden_settings_make_new_ones(self, settings: dict[str, Any]) -> None:
        """Each that a driver was made from."""
        before = broadcasters["memory"]
        with override_settings(**settings):
            inside = broadcasters["memory"]
            assert inside is not before
            assert inside.app == get_settings().apps[0]
        assert broadcasters["memory"] is not inside

    def test_an_unknown_alias_lists_the_known_ones(self) -> None:
        """At the place of the mistake."""
        with pytest.raises(ImproperlyConfigured, match=r"'radis'.*channels, log, memory, null"):
            broadcasters["radis"]

    @pytest.mark.parametrize(
        ("entry", "texts"),
        [
            ({"DRIVER": "redis"}, ["cannot be imported", "install the package"]),
            ({"DRIVER": "no.such.module.X"}, ["cannot be imported", "'no.such.module.X'"]),
            ({"DRIVER": "broadcasting.drivers.memory.X"}, ["cannot be imported"]),
            ({"DRIVER": f"{__name__}.not_a_broadcaster"}, ["which is not a Broadcaster"]),
            ({"DRIVER": "broadcasting.conf.Settings"}, ["which is not a Broadcaster"]),
            (
                {"DRIVER": f"{__name__}.not_a_broadcaster"},
                ["Name a subclass of broadcasting.drivers.base.Broadcaster"],
            ),
            ({"DRIVER": "broadcasting.drivers.base.Broadcaster"}, ["does not fit", "abstract"]),
            ({"DRIVER": f"{__name__}.PickyBroadcaster", "SIZE": -1}, ["size is below 0"]),
            ({"DRIVER": f"{__name__}.PickyBroadcaster", "SIZE": "1"}, ["does not fit", "'<'"]),
            ({"DRIVER": HERE, "app": "1"}, ["does not fit its driver", "'app'"]),
            ({"DRIVER": HERE, "FIRST_APP_ID": "9"}, ["does not fit", "'first_app_id'"]),
            ({"DRIVER": HERE, "SISE": 5}, ["does not fit its driver", "'sise'"]),
            ({"DRIVER": HERE, "URL": "redis://:very-secret@host"}, ["does not fit", "'url'"]),
        ],
        ids=str,
    )
    def test_a_driver_that_cannot_be_made_names_its_connection(
        self, entry: dict[str, object], texts: list[str]
    ) -> None:
        """And what is wrong with it, but no value of an option."""
        with (
            using(CONNECTIONS={"x": entry}),
            pytest.raises(ImproperlyConfigured) as caught,
        ):
            broadcasters["x"]
        for text in ["BROADCASTING[\"CONNECTIONS\"]['x']", *texts]:
            assert text in str(caught.value)
        assert "very-secret" not in str(caught.value)


class TestServerConnection:
    @pytest.mark.parametrize(
        ("broadcasting", "driver"),
        [
            ({"DEFAULT": "memory"}, MemoryBroadcaster),
            ({"DEFAULT": "null"}, MemoryBroadcaster),
            ({"DEFAULT": "log"}, MemoryBroadcaster),
            ({"DEFAULT": "null", "SERVER": {"CONNECTION": "memory"}}, MemoryBroadcaster),
            ({"DEFAULT": "channels"}, ChannelLayerBroadcaster),
            ({"DEFAULT": "log", "SERVER": {"CONNECTION": "channels"}}, ChannelLayerBroadcaster),
        ],
        ids=str,
    )
    def test_the_default_one_if_it_can_be_read_else_memory(
        self, broadcasting: dict[str, Any], driver: type[Broadcaster]
    ) -> None:
        """Unless SERVER names another."""
        with using(**broadcasting):
            assert type(server_broadcaster()) is driver

    def test_server_goes_before_default(self) -> None:
        """Two connections of one driver are two."""
        with using(
            DEFAULT="memory",
            CONNECTIONS={"other": {"DRIVER": MEMORY}},
            SERVER={"CONNECTION": "other"},
        ):
            assert server_broadcaster() is broadcasters["other"]

    @pytest.mark.parametrize("alias", ["null", "log"])
    def test_one_that_only_writes_is_a_mistake(self, alias: str) -> None:
        """Said before the first socket comes."""
        with (
            using(SERVER={"CONNECTION": alias}),
            pytest.raises(ImproperlyConfigured) as caught,
        ):
            server_broadcaster()
        assert f'BROADCASTING["SERVER"]["CONNECTION"] is {alias!r}' in str(caught.value)
        assert "memory, channels or redis" in str(caught.value)


class TestGetBroker:
    async def test_a_loop_has_one_broker(self) -> None:
        """Until it is closed."""
        broker = get_broker()
        assert get_broker() is broker
        with mock.patch.object(broker, "close", wraps=broker.close) as close:
            await close_broker()
            await close_broker()
        close.assert_called_once_with()
        assert get_broker() is not broker

    async def test_loops_do_not_share(self) -> None:
        """A broker is called on its own loop only."""

        async def other() -> Broker:
            return get_broker()

        ours = get_broker()
        theirs = await asyncio.to_thread(lambda: asyncio.run(other()))
        assert theirs is not ours
        assert isinstance(theirs, MemoryBroker)
        assert theirs.loop.is_closed()
        assert get_broker() is ours

    async def test_brokers_of_closed_loops_are_forgotten(self) -> None:
        """A process that runs loop after loop does not keep what belonged to them."""

        async def other() -> "weakref.ref[Broker]":
            return weakref.ref(get_broker())

        broker = await asyncio.to_thread(lambda: asyncio.run(other()))
        get_broker()
        gc.collect()
        assert broker() is None

    async def test_a_new_bus_needs_a_new_broker(self) -> None:
        """After settings were overridden."""
        before = get_broker()
        with using(DEFAULT="null"):
            assert get_broker() is not before

    def test_it_needs_a_running_loop(self) -> None:
        """Each broker belongs to one."""
        with pytest.raises(RuntimeError, match="no running event loop"):
            get_broker()


class TestOtherAddress:
    @pytest.fixture(autouse=True)
    def _not_warned_yet(self) -> Iterator[None]:
        warn_of_other_address.cache_clear()
        yield
        warn_of_other_address.cache_clear()

    @pytest.mark.parametrize(
        ("url", "port"),
        [
            ("http://127.0.0.1:8000", 8000),
            ("http://example.com", 80),
            ("https://example.com", 443),
            ("https://example.com:8443/prefix", 8443),
        ],
    )
    def test_the_port_in_the_url_is_fine(
        self, url: str, port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Written, or that of the scheme."""
        with using(DEFAULT="memory", CONNECTIONS={"memory": {"DRIVER": MEMORY, "URL": url}}):
            warn_of_other_address(port)
        assert caplog.records == []

    def test_another_port_is_said_once_with_what_to_set(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not with every client."""
        with using(DEFAULT="null", SERVER={"CONNECTION": "memory"}):
            warn_of_other_address(9000)
            warn_of_other_address(9000)
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("broadcasting.drivers", logging.WARNING)
        text = record.getMessage()
        assert "port 9000" in text
        assert "http://127.0.0.1:8000" in text
        assert 'BROADCASTING["CONNECTIONS"][\'memory\']["URL"]' in text

    def test_a_bus_that_leaves_the_process_needs_no_address(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody posts to this server."""
        with using(DEFAULT="log"):
            assert isinstance(broadcasters["log"], LogBroadcaster)
            warn_of_other_address(9000)
        assert caplog.records == []

    @pytest.mark.parametrize(
        ("backend", "count"),
        [
            ("channels.layers.InMemoryChannelLayer", 1),
            ("channels_redis.pubsub.RedisPubSubChannelLayer", 0),
        ],
    )
    def test_a_channel_layer_decides_for_its_connection(
        self, backend: str, count: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In memory it ends at the process, over Redis it does not."""
        with (
            override_settings(CHANNEL_LAYERS={"default": {"BACKEND": backend}}),
            using(DEFAULT="channels"),
        ):
            warn_of_other_address(9000)
        assert len(caplog.records) == count

    def test_redis_reaches_every_process(self, caplog: pytest.LogCaptureFixture) -> None:
        """Whatever port the server has."""
        driver = "broadcasting.drivers.redis.RedisBroadcaster"
        with using(DEFAULT="redis", CONNECTIONS={"redis": {"DRIVER": driver}}):
            warn_of_other_address(9000)
        assert caplog.records == []

"""``BROADCASTING``: defaults, connections, server, queue, circuit breaker and mistakes."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings as ProjectSettings

from broadcasting.conf import CircuitBreaker, Queue, Settings, get_settings
from broadcasting.conf.reading import read_settings

APPS = [{"ID": "7", "KEY": "key", "SECRET": "s"}, {"ID": 8, "KEY": "other", "SECRET": "s"}]
MEMORY = "broadcasting.drivers.memory.MemoryBroadcaster"


def settings_of(**broadcasting: Any) -> Settings:
    """Return the settings of a project with this ``BROADCASTING``."""
    with override_settings(BROADCASTING=broadcasting):
        return get_settings()


def test_the_setting_may_be_missing(settings: ProjectSettings) -> None:
    """Everything has a default."""
    del settings.BROADCASTING
    assert read_settings().default == "channels"


def test_without_a_channel_layer_events_stay_in_the_process() -> None:
    """A project need not write anything."""
    with override_settings(CHANNEL_LAYERS={}):
        settings = settings_of()
    assert settings.default == "memory"
    assert settings.server.connection is None
    assert settings.server.path == ""
    assert sorted(settings.connections) == ["channels", "log", "memory", "null"]


def test_a_channel_layer_is_used_unless_a_default_is_given() -> None:
    """As a project that has one expects."""
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "x"}}):
        assert settings_of().default == "channels"
        assert settings_of(DEFAULT="null").default == "null"


def test_secrets_are_kept_but_not_shown() -> None:
    """A Redis address has a password in it, that of a webhook a token."""
    settings = settings_of(
        CONNECTIONS={"r": {"DRIVER": "x", "URL": "redis://:password@localhost"}},
        APPS=[{"WEBHOOKS": [{"URL": "https://example.com/?token=t0k3n"}]}],
    )
    assert settings.connections["r"].options["url"] == "redis://:password@localhost"
    assert settings.apps[0].webhooks[0].url == "https://example.com/?token=t0k3n"
    for secret in ("password", "t0k3n", settings.apps[0].secret):
        assert secret not in repr(settings)


def test_connection_options_arrive_in_lower_case() -> None:
    """Without those that are not the driver's."""
    connection = settings_of(
        CONNECTIONS={
            "x": {"DRIVER": MEMORY, "APP": "1", "CIRCUIT_BREAKER": None, "URL": "u", "Max_Size": 1}
        }
    ).connection("x")
    assert (connection.alias, connection.driver) == ("x", MEMORY)
    assert connection.options == {"url": "u", "max_size": 1}


def test_a_built_in_alias_can_be_given_options() -> None:
    """An entry of that name takes its place."""
    settings = settings_of(CONNECTIONS={"memory": {"DRIVER": MEMORY, "URL": "u"}})
    assert settings.connection("memory").options == {"url": "u"}
    assert settings.connection("null").options == {}


def test_a_connection_is_for_the_first_application_unless_it_names_one() -> None:
    """By ID, which may be written as a number."""
    connections = {"x": {"DRIVER": MEMORY}, "y": {"DRIVER": MEMORY, "APP": 8}}
    settings = settings_of(APPS=APPS, CONNECTIONS=connections)
    assert settings.connection("x").app.id == "7"
    assert settings.connection("y").app.key == "other"
    assert settings.connection("memory").app.id == "7"


def test_an_unknown_alias_is_answered_with_those_that_exist() -> None:
    """And with what to do."""
    with pytest.raises(ImproperlyConfigured) as caught:
        settings_of(CONNECTIONS={"mine": {"DRIVER": MEMORY}}).connection("yours")
    for text in ("'yours'", "channels, log, memory, mine, null", 'BROADCASTING["CONNECTIONS"]'):
        assert text in str(caught.value)


@pytest.mark.parametrize(("path", "result"), [("", ""), ("/", ""), ("ws", "ws"), ("/a/b/", "a/b")])
def test_slashes_around_the_path_do_not_matter(path: str, result: str) -> None:
    """It is put between slashes anyway."""
    assert settings_of(SERVER={"PATH": path}).server.path == result


def test_nothing_is_queued_by_default() -> None:
    """An event may still name a queue, for which the other defaults hold."""
    assert settings_of().queue == settings_of(QUEUE=None).queue == Queue(all=False)
    queue = settings_of(QUEUE={}).queue
    assert (queue.backend, queue.name, queue.cache, queue.all) == (*["default"] * 3, True)
    assert (queue.tries, queue.backoff, queue.expires) == (5, (1, 5, 15, 60), None)


def test_the_circuit_breaker_is_on() -> None:
    """With the figures of docs/queues.md, for every connection and the queue."""
    settings = settings_of()
    assert settings.circuit_breaker == CircuitBreaker(failures=5, seconds=10, slow=0.1)
    assert settings.connection("memory").circuit_breaker == settings.circuit_breaker


def test_a_connection_may_have_a_circuit_breaker_of_its_own() -> None:
    """It starts from the defaults."""
    settings = settings_of(
        CIRCUIT_BREAKER={"FAILURES": 2, "SECONDS": 30},
        CONNECTIONS={
            "own": {"DRIVER": MEMORY, "CIRCUIT_BREAKER": {"SECONDS": 0.5}},
            "none": {"DRIVER": MEMORY, "CIRCUIT_BREAKER": None},
            "shared": {"DRIVER": MEMORY},
        },
    )
    assert settings.connection("own").circuit_breaker == CircuitBreaker(seconds=0.5)
    assert settings.connection("none").circuit_breaker.failures is None
    assert settings.connection("shared").circuit_breaker == CircuitBreaker(failures=2, seconds=30)


BREAKERS: list[tuple[Any, list[str]]] = [
    (5, ["must be a dictionary"]),
    ({"FAILURES": 0}, ['["FAILURES"] is 0', "None in place of the whole"]),
    ({"FAILURES": None}, ['["FAILURES"] is None']),
    ({"SECONDS": -1}, ['["SECONDS"] is -1']),
    ({"SLOW": float("nan")}, ['["SLOW"] is nan']),
    ({"FAILS": 1}, ["unknown keys: FAILS"]),
]
MISTAKES: list[tuple[Any, list[str]]] = [
    *(
        ({"CIRCUIT_BREAKER": breaker}, ['BROADCASTING["CIRCUIT_BREAKER"]', *texts])
        for breaker, texts in BREAKERS
    ),
    *(
        (
            {"CONNECTIONS": {"x": {"DRIVER": MEMORY, "CIRCUIT_BREAKER": breaker}}},
            ["['x'][\"CIRCUIT_BREAKER\"]", *texts],
        )
        for breaker, texts in BREAKERS
    ),
    ("redis", ["BROADCASTING must be a dictionary, not str"]),
    ({"DEFALT": "x"}, ["BROADCASTING has unknown keys: DEFALT", "DEFAULT, CONNECTIONS"]),
    ({1: "x", "a": 2}, ["unknown keys: 1, a"]),
    ({"DEFAULT": "radis"}, ["'radis'", "channels, log", 'BROADCASTING["CONNECTIONS"]']),
    ({"DEFAULT": None}, ["connection None"]),
    ({"DEFAULT": ["redis"]}, ["connection ['redis']"]),
    ({"AUTHENTICATORS": "x"}, ['BROADCASTING["AUTHENTICATORS"] must be a list']),
    ({"SERVER": []}, ['BROADCASTING["SERVER"] must be a dictionary']),
    ({"SERVER": {"CONNECTION": "radis"}}, ["'radis'", "Known connections"]),
    ({"SERVER": {"PROT": 1}}, ['["SERVER"] has unknown keys: PROT', "CONNECTION, PATH, HOST"]),
    ({"SERVER": {"PATH": None}}, ['["SERVER"]["PATH"] is None', "text"]),
    ({"SERVER": {"HOST": None}}, ['["SERVER"]["HOST"] is None', "text"]),
    ({"SERVER": {"PORT": "80"}}, ['["SERVER"]["PORT"] is \'80\'', "1 or more"]),
    ({"SERVER": {"MAX_CONNECTIONS": 0}}, ['["MAX_CONNECTIONS"] is 0', "1 or more"]),
    ({"SERVER": {"METRICS_TOKEN": "a b"}}, ['["METRICS_TOKEN"] must be text without spaces']),
    ({"CONNECTIONS": []}, ['BROADCASTING["CONNECTIONS"] must be a dictionary']),
    ({"CONNECTIONS": {"x": MEMORY}}, ["[\"CONNECTIONS\"]['x'] must be a dictionary"]),
    ({"CONNECTIONS": {"x": {}}}, ["['x'] names no driver", '"DRIVER"', MEMORY]),
    ({"CONNECTIONS": {"x": {"DRIVER": object}}}, ["['x'] names no driver"]),
    (
        {"CONNECTIONS": {"x": {"DRIVER": MEMORY, "APP": "9"}}},
        ["[\"CONNECTIONS\"]['x'][\"APP\"] is '9'", 'BROADCASTING["APPS"] (1)'],
    ),
    ({"QUEUE": []}, ['["QUEUE"] must be a dictionary']),
    ({"QUEUE": {"BAKEND": "x"}}, ["unknown keys: BAKEND"]),
    ({"QUEUE": {"BACKEND": None}}, ['["BACKEND"] is None', "text"]),
    ({"QUEUE": {"NAME": ""}}, ["[\"NAME\"] is ''"]),
    ({"QUEUE": {"ALL": 1}}, ['["ALL"] is 1', "True or False"]),
    ({"QUEUE": {"TRIES": True}}, ['["TRIES"] is True']),
    ({"QUEUE": {"BACKOFF": []}}, ['["BACKOFF"] is []', "list of seconds"]),
    ({"QUEUE": {"BACKOFF": 5}}, ['["BACKOFF"] is 5', "list of seconds"]),
    ({"QUEUE": {"BACKOFF": [1, -1]}}, ['["BACKOFF"] is -1', "0 or more"]),
    ({"QUEUE": {"BACKOFF": ["1"]}}, ["[\"BACKOFF\"] is '1'"]),
    ({"QUEUE": {"EXPIRES": 0}}, ['["EXPIRES"] is 0']),
    ({"QUEUE": {"CACHE": "nowhere"}}, ["'nowhere'", "alias in CACHES"]),
]


@pytest.mark.parametrize(("broadcasting", "texts"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_names_the_setting_and_what_it_should_be(
    broadcasting: Any, texts: list[str]
) -> None:
    """One sentence that can be acted on."""
    with (
        override_settings(BROADCASTING=broadcasting),
        pytest.raises(ImproperlyConfigured) as caught,
    ):
        get_settings()
    for text in texts:
        assert text in str(caught.value)

"""What ``manage.py check --deploy`` reports of whole projects. Each spoils one thing or nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RIGHT = "from tests.checks.right import *"
APP = 'INSTALLED_APPS += ["tests.checks.apps.{}"]'
MISSING = "import sys; sys.modules['{}'] = None"  # As if it were not installed.
REDIS = """BROADCASTING = {"DEFAULT": "redis", "CONNECTIONS": {"redis": {
    "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster"}}}"""
APPS = 'BROADCASTING = {{"DEFAULT": "memory", "APPS": [{}]}}'
LAYER = 'CHANNEL_LAYERS = {{"default": {{"BACKEND": "{}"}}}}'
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CHANNELS = 'BROADCASTING = {"DEFAULT": "channels"}'

# What is done to a right project -> the ids that it triggers, all of them.
PROJECTS = {
    "": "",
    'BROADCASTING = {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": "no.such.Driver"}}}': "E001",
    f"{MISSING.format('redis')}\n{REDIS}": "E001",
    'BROADCASTING = {"DEFAULT": "memory", "QUEUE": {"BACKEND": "shop.tasks.enqueue"}}': "E001",
    CHANNELS: "E002",
    f"{MISSING.format('channels_redis')}\n{CHANNELS}\n{LAYER.format(PUBSUB)}": "E002",
    "del ASGI_APPLICATION": "E003",
    'ASGI_APPLICATION = "shop.asgi.application"': "E003",
    'SECRET_KEY = "django-insecure-3q2hD0kZ8vT5mWb7yXc1nRf4sLp6uJg9aEoi"': "E004",
    APPS.format('{"ID": "1", "KEY": "shop", "SECRET": "7ad3773142a6692b25b8"}'): "E004",
    APP.format("typo"): "E005",
    APP.format("undeclared"): "E006",
    'DEBUG = True; INSTALLED_APPS.remove("daphne")': "I002",
    'MIDDLEWARE = [path for path in MIDDLEWARE if not path.endswith("SocketIdMiddleware")]': "I003",
    APP.format("overlapping"): "W001",
    f"{CHANNELS}\n{LAYER.format(PUBSUB)}": "I001 W002",
    f"{MISSING.format('nacl')}\n"
    + APPS.format(
        '{"ENCRYPTION_MASTER_KEY_BASE64": "1VZ0pVv1lQ3yq0WQp2b5cXkQm0zS8oG1Yj3tRk5uA7c="}'
    ): "W003",
    f"{MISSING.format('hiredis')}\n{REDIS}": "W004",
    # Unless a project says otherwise, its tasks run at once.
    'BROADCASTING = {"DEFAULT": "memory", "QUEUE": {}}': "W005",
    'INSTALLED_APPS = [*INSTALLED_APPS[1:], "daphne"]': "W006",
    # Metadata of an older daphne.
    'import sys; sys.path.insert(0, "tests/checks/packages")': "W007",
    LAYER.format("channels_redis.core.RedisChannelLayer"): "W008",
    APP.format("forgotten"): "W009",
    APP.format("fields"): "W010",
    'ROOT_URLCONF = "django.contrib.auth.urls"': "W011",
    'ASGI_APPLICATION = "tests.checks.apps.startproject_asgi.application"': "W012",
    APPS.format('{"ID": "1", "KEY": "shop", "SECRET": "hunter2"}'): "W013",
    APPS.format('{"ALLOWED_ORIGINS": ["*"]}'): "W014",
    'ALLOWED_HOSTS = ["*"]': "W014",
    LAYER.format("channels.layers.InMemoryChannelLayer"): "W015",
    'import os; os.environ["WEB_CONCURRENCY"] = "4"': "W016",
    APP.format("unsendable"): "W017",
}
DEPLOYMENT = {"E004", "W013", "W014", "W015", "W016"}

SILENCE = "System check identified no issues (0 silenced).\n"

Check = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def check() -> Iterator[Check]:
    """Return what checks a project by its settings, and returns exit code and output."""
    # Whatever a shell or a platform has set for its own servers.
    unwanted = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS", "GUNICORN_CMD_ARGS")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.checks.forks"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        asked, answered = process.stdin, process.stdout
        assert asked is not None
        assert answered is not None

        def run(code: str, *options: str) -> tuple[int, str]:
            asked.write(json.dumps([code, *options]) + "\n")
            asked.flush()
            status, output = json.loads(answered.readline())
            return status, output

        yield run
        asked.close()


def ids_in(output: str) -> set[str]:
    """Return the ids of what was reported, having looked that each hint leads to its section."""
    reported = re.findall(r"\(broadcasting\.(\w+)\) .*\n\tHINT: .* See (\S+)$", output, re.M)
    assert len(reported) == output.count("(broadcasting.")
    for id_, section in reported:
        assert section == f"docs/checks.md#broadcasting{id_.lower()}"
    return {id_ for id_, _ in reported}


@pytest.mark.parametrize(("change", "ids"), PROJECTS.items(), ids=list(PROJECTS.values()))
def test_what_is_wrong_with_a_project(check: Check, change: str, ids: str) -> None:
    """That and nothing else, each with a hint that leads to its section of docs/checks.md."""
    code, output = check(f"{RIGHT}\n{change}", "--deploy")
    assert ids_in(output) == set(ids.split()), output
    assert code == ("E" in ids), output


@pytest.mark.parametrize("change", [code for code, ids in PROJECTS.items() if ids in DEPLOYMENT])
def test_what_matters_in_production_is_reported_with_deploy_only(check: Check, change: str) -> None:
    """It is harmless while a project is developed."""
    assert check(f"{RIGHT}\n{change}") == (0, SILENCE)


def test_the_demo_passes(check: Check) -> None:
    """As it is started without a setting of one's own, but for the one that it silences."""
    code, output = check("from whik.settings import *")
    assert (code, ids_in(output)) == (0, set())
    assert "(1 silenced)" in output


def test_every_documented_check_has_a_project() -> None:
    """And the other way round."""
    page = (ROOT / "docs" / "checks.md").read_text()
    documented = set(re.findall(r"^### `broadcasting\.(\w+)`$", page, re.M))
    assert documented == {id_ for ids in PROJECTS.values() for id_ in ids.split()}
    marked = re.findall(r"^### `broadcasting\.(\w+)`\n\n\*Deploy\.\*", page, re.M)
    assert set(marked) == DEPLOYMENT
    listed = re.findall(r"\[(\w+)\]\(#broadcasting(\w+)\)( \*deploy\*)?", page)
    assert {id_ for id_, _, _ in listed} == documented
    assert {id_ for id_, _, deploy in listed if deploy} == DEPLOYMENT
    assert all(id_.lower() == section for id_, section, _ in listed)

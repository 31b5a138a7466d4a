"""Real workers of Celery, RQ and Django's tasks send what another process has queued."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import RedisServer, end
from tests.utils import wait_until

ROOT = Path(__file__).resolve().parents[2]

WORKERS = {
    "celery": "-m celery -A tests.queueing.workers.site worker -P solo -Q default",
    "rq": "-m django rqworker default --with-scheduler",
    "database": "-m django db_worker --interval 0.2",
}

# A request of the site: some events at once, and as many as there are saves of one row.
REQUEST = """
import django
django.setup()
from broadcasting import ShouldBroadcast, broadcast_to, event

class Moved(ShouldBroadcast):
    def __init__(self, x):
        self.x = x

    def broadcast_on(self):
        return "map"

    def broadcast_debounce(self):
        return 2

for number in range(3):
    broadcast_to("news", "Said", {"number": number})
for x in range(50):
    event(Moved(x))
"""


@pytest.fixture
def sites(redis_server: RedisServer, tmp_path: Path) -> Iterator[dict[str, dict[str, str]]]:
    """Start every worker; return the environments of their sites."""
    environments = {
        way: os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "tests.queueing.workers.settings",
            "REDIS_URL": redis_server.url,
            "QUEUE_WAY": way,
            "QUEUE_DATABASE": str(tmp_path / "queue.sqlite3"),
        }
        for way in WORKERS
    }
    migration = ("-m", "django", "migrate", "--verbosity", "0")
    assert start(*migration, env=environments["database"]).wait(60) == 0
    processes = []
    try:
        for way, command in WORKERS.items():
            with (tmp_path / f"{way}.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, *command.split()],
                    cwd=ROOT,
                    env=environments[way],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            processes.append(process)
        yield environments
    finally:
        for process in processes:
            end(process, grace=0)


def start(*arguments: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start Python."""
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=env)


def test_workers_send(
    sites: dict[str, dict[str, str]], redis_server: RedisServer, tmp_path: Path
) -> None:
    """Some events at once, in order, and of fifty the last, later: each of them once."""
    with redis.Redis(port=redis_server.port) as client, client.pubsub() as bus:
        bus.psubscribe("*")
        heard: dict[str, list[Any]] = {way: [] for way in sites}

        def listen() -> bool:
            message = bus.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None:
                hear(message["channel"].decode(), message["data"])
            return all(len(each) >= 4 for each in heard.values())

        def hear(channel: str, text: bytes) -> None:
            way = channel.partition(":")[0]
            if way in heard and b'"event"' in text:
                frame = json.loads(text)
                heard[way].append((frame["event"], frame["data"]))

        requests = [start("-c", REQUEST, env=env) for env in sites.values()]
        assert [request.wait(60) for request in requests] == [0, 0, 0]
        try:
            wait_until(listen, 40, "four events from each worker")
        except AssertionError as exc:
            logs = "\n".join(f"{way}:\n{(tmp_path / f'{way}.log').read_text()}" for way in sites)
            pytest.fail(f"{exc}, but {heard}\n{logs}", pytrace=False)
    expected = [*(("Said", {"number": number}) for number in range(3)), ("Moved", {"x": 49})]
    assert heard == dict.fromkeys(sites, expected)


@pytest.mark.parametrize("name", ["tasks", "jobs"])
def test_recipe_is_the_one_that_is_printed(name: str) -> None:
    """What the workers run is what docs/queues.md says, but for types."""
    page = (ROOT / "docs" / "queues.md").read_text()
    (printed,) = re.findall(rf"^```python\n# shop/{name}\.py\n(.*?)^```", page, re.M | re.S)
    run = (ROOT / "tests" / "queueing" / "workers" / f"{name}.py").read_text()
    assert _without_types(run) == _without_types(printed)


def _without_types(source: str) -> list[str]:
    """Return the statements, without annotations, their imports and the docstring."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    statements = [ast.unparse(node) for node in tree.body]
    return [each for each in statements if each[:1] not in "\"'" and "typing" not in each]

"""The plugin in a run of pytest of its own, as in a project."""

import os
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import pytest

from broadcasting import testing
from broadcasting.testing.records import Conditions, RecordedBroadcast

ROOT = Path(__file__).resolve().parents[2]

TESTS = """
import pytest

from broadcasting import abroadcast_to, broadcast_to
from tests.testing.orders import OrderShipped


def test_fake(fake_broadcasts):
    broadcast_to("a", "Said", {})
    fake_broadcasts.assert_broadcast("Said")


def test_client(broadcast_client):
    client = broadcast_client()
    client.subscribe("a")
    broadcast_to("a", "Said", {})
    client.receive("Said")


@pytest.mark.asyncio
async def test_async_client(async_broadcast_client):
    client = await async_broadcast_client()
    await client.subscribe("a")
    await abroadcast_to("a", "Said", {})
    await client.receive("Said")


def test_failure(fake_broadcasts):
    fake_broadcasts.assert_broadcast(OrderShipped)
"""


def run(directory: Path, *arguments: str) -> str:
    """Run pytest with the plugin, as its entry point would have it, and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "broadcasting.pytest_plugin", *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def test_fixtures_work(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(TESTS)
    scope = "asyncio_default_fixture_loop_scope=function"
    output = run(tmp_path, "-q", "-W", "error", "--tb=short", "-o", scope)
    assert "1 failed, 3 passed" in output, output
    assert "OrderShipped was not broadcast." in output
    assert "broadcasting/testing" not in output


def test_plugin_imports_nothing_until_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n\ndef test_other():\n    assert 'django.conf' not in sys.modules\n"
        "    assert 'broadcasting.testing' not in sys.modules\n"
    )
    output = run(tmp_path, "-q", "-p", "no:django", "-p", "no:asyncio")
    assert "1 passed" in output, output


@pytest.mark.parametrize(
    "owner",
    [testing.BroadcastClient, testing.Broadcasts, testing.BroadcastTestMixin, RecordedBroadcast],
)
def test_page_documents_all_names(owner: type) -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    names = {name for name in dir(owner) if not name.startswith("_") and name != "of"}
    names -= set(dir(unittest.TestCase))
    names |= {"what", "times", *Conditions.__annotations__}
    assert not [name for name in names if name not in page]


def test_package_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"broadcasting": "broadcasting.pytest_plugin"}

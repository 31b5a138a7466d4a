"""``manage.py make_event`` and ``make_listener``."""

import importlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from pytest_django import Settings

from broadcasting import event
from broadcasting.drivers.registry import broadcasters
from broadcasting.events import dispatch
from tests.events.recording import RecordingBroadcaster, Sent

MODELS = """\
from django.db import models


class Order(models.Model):
    broadcast_fields = ("pk", "name")
    name = models.CharField(max_length=20)

    class Meta:
        app_label = "stall"


class OrderLine(models.Model):
    class Meta:
        app_label = "stall"


class Class(models.Model):
    class Meta:
        app_label = "stall"
"""
# The project's linter decides what it likes; this is what many agree on.
RUFF = (
    "--isolated",
    "--select",
    "E,F,I,UP,B,SIM,D",
    "--ignore",
    "D100,D101,D104,D106,D203,D213,D401",
)

Run = Callable[..., str]


@pytest.fixture
def stall(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install an app ``stall`` with two models; return its folder."""
    folder = tmp_path / "stall"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "stall"]
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "stall"]:
        del sys.modules[name]
    apps.all_models.pop("stall", None)


def what_is_sent(instance: object, settings: Settings) -> list[Sent]:
    """Fire an event and return what is broadcast."""
    driver = {"DRIVER": "tests.events.recording.RecordingBroadcaster"}
    settings.BROADCASTING = {"DEFAULT": "recorded", "CONNECTIONS": {"recorded": driver}}
    event(instance)
    return cast(RecordingBroadcaster, broadcasters["recorded"]).sent


def run(command: str, *arguments: str) -> str:
    """Run a command and return what it printed, or the one line of its refusal."""
    output = io.StringIO()
    importlib.invalidate_caches()
    try:
        call_command(command, *arguments, stdout=output)
    except CommandError as exc:
        output.write(f"CommandError: {exc}")
    return output.getvalue()


def stall_events() -> Any:
    """Import what was written, anew."""
    importlib.invalidate_caches()
    sys.modules.pop("stall.events", None)
    return importlib.import_module("stall.events")


def assert_clean(folder: Path, *, formatted: bool = True) -> None:
    """Fail if ruff would complain, or, where the files are `formatted`, change something."""
    commands = [("check", *RUFF), ("format", "--isolated", "--check")]
    for command in commands if formatted else commands[:1]:
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_event_broadcasts_as_it_was_written(stall: Path, settings: Settings) -> None:
    """It is sent on a private channel, unless another kind is asked for."""
    printed = run("make_event", "stall.OrderShipped")
    assert printed.startswith("Wrote OrderShipped into stall/events.py.\n")
    for line in (
        "event(OrderShipped(id=7))",
        'Echo.private("order-shipped").listen("OrderShipped", (e) => …)',
        '@channel_authorizer("order-shipped")',
    ):
        assert line in printed
    assert_clean(stall)
    assert what_is_sent(stall_events().OrderShipped(id=7), settings) == [
        Sent(("private-order-shipped",), "OrderShipped", {"id": 7}, None)
    ]


@pytest.mark.parametrize(
    ("option", "channel", "method"),
    [
        ("--private", "private-news", "private"),
        ("--presence", "presence-news", "join"),
        ("--encrypted", "private-encrypted-news", "encryptedPrivate"),
        ("--public", "news", "channel"),
    ],
)
def test_kind_and_name_of_the_channel_are_chosen(
    option: str, channel: str, method: str, stall: Path
) -> None:
    """Each kind by its option; only a public one needs no rule."""
    printed = run("make_event", "Fired", "--app", "stall", option, "--channel", "news")
    assert f'Echo.{method}("news")' in printed
    assert ("channel_authorizer" in printed) == (option != "--public")
    assert_clean(stall)
    assert stall_events().Fired(id=1).broadcast_on().name == channel


def test_event_of_a_model_goes_to_the_models_channel(stall: Path, settings: Settings) -> None:
    """The page of one row listens to that row."""
    printed = run("make_event", "stall.OrderPaid", "--model", "Order")
    assert "event(OrderPaid(order))" in printed
    assert 'Echo.private(`stall.Order.${id}`).listen("OrderPaid"' in printed
    assert '@channel_authorizer("stall.Order.{order}")' in printed
    assert "Declare:" not in printed
    assert_clean(stall)
    order = importlib.import_module("stall.models").Order(pk=7, name="tea")
    order._state.adding = False
    assert what_is_sent(stall_events().OrderPaid(order), settings) == [
        Sent(("private-stall.Order.7",), "OrderPaid", {"order": {"pk": 7, "name": "tea"}}, None)
    ]


@pytest.mark.parametrize(
    ("model", "field", "advice"),
    [
        # It would be refused when the event is fired.
        ("stall.OrderLine", "order_line: OrderLine", "broadcast_fields in OrderLine"),
        # A field cannot be called like a keyword.
        ("Class", "class_: Class", '@channel_authorizer("stall.Class.{class_}")'),
    ],
)
def test_models_that_need_advice(model: str, field: str, advice: str, stall: Path) -> None:
    """One without declared fields, and one whose name is a keyword."""
    assert advice in run("make_event", "stall.Happened", "--model", model)
    assert f"{field}\n" in (stall / "events.py").read_text()


@pytest.mark.parametrize(
    ("text", "newline"),
    [
        ("", "\n"),
        ('"""Ours."""\n', "\r\n"),
        (
            '"""Ours."""\n\nfrom broadcasting import (\n    Channel,\n)\n\nNAME = Channel(\'x\')',
            "\r\n",
        ),
        ("NAME = 'x'\n", "\n"),
    ],
)
def test_events_are_added_to_what_is_there(text: str, newline: str, stall: Path) -> None:
    """One after the other, of every kind; what is imported already is not imported again."""
    path = stall / "events.py"
    path.write_text(text, newline=newline)
    for arguments in (
        ("stall.First", "--public"),
        ("stall.Second", "--presence"),
        ("stall.Third", "--model", "Order"),
        ("stall.Fourth", "--model", "auth.User"),
    ):
        assert "Wrote" in run("make_event", *arguments)
        sys.modules.pop("stall.events", None)
    with path.open(newline="") as file:
        written = file.read()
    assert written.count("\n") == written.count(newline)
    assert all(line in written for line in text.splitlines())
    assert written.count("import dataclass") == 1
    assert written.index("import User") < written.index("class First")
    assert {"First", "Second", "Third", "Fourth"} <= set(vars(stall_events()))


def test_package_of_events_is_added_to(stall: Path) -> None:
    """The module may be a folder."""
    (stall / "events").mkdir()
    (stall / "events" / "__init__.py").touch()
    run("make_event", "stall.OrderPaid", "--model", "Order")
    assert "class OrderPaid" in (stall / "events" / "__init__.py").read_text()
    assert stall_events().OrderPaid


def test_listener_is_called(stall: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With events of its class, in the app of the event unless another is named."""
    monkeypatch.setattr(dispatch, "_listeners", {})
    run("make_event", "stall.OrderShipped", "--public")
    printed = run("make_listener", "stall.send_receipt", "--event", "stall.OrderShipped")
    assert printed.startswith("Wrote send_receipt into stall/listeners.py.\n")
    run("make_listener", "note", "--event", "stall.events.OrderShipped", "--async")
    assert_clean(stall)
    text = (stall / "listeners.py").read_text()
    assert "async def note(event: OrderShipped)" in text
    doc = '"""Do something on the server. An exception keeps the event from browsers."""'
    assert text.count(doc) == 2
    # What its author would write.
    text = text.replace(doc, "called.append(event)").replace("async def", "def")
    (stall / "listeners.py").write_text(f"{text}\n\ncalled = []\n")
    monkeypatch.setattr(dispatch, "_listeners", {})
    del sys.modules["stall.listeners"]
    listeners = importlib.import_module("stall.listeners")
    fired = listeners.OrderShipped(id=7)
    event(fired)
    assert listeners.called == [fired, fired]


@pytest.mark.parametrize("command", [["make_event"], ["make_listener", "--event", "stall.Known"]])
def test_dry_run_only_shows(command: list[str], stall: Path) -> None:
    """As a diff."""
    (stall / "events.py").write_text("class Known: ...\n")
    before = sorted(path.name for path in stall.iterdir())
    name, *options = command
    printed = run(name, "stall.new", *options, "--dry-run")
    assert "+++ stall/" in printed
    assert "new" in printed
    assert sorted(path.name for path in stall.iterdir()) == before
    assert (stall / "events.py").read_text() == "class Known: ...\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["make_event", "OrderShipped"], "Name an app, as in shop.OrderShipped"),
        (["make_event", "nowhere.OrderShipped"], "No installed app with label 'nowhere'"),
        (["make_event", "auth.OrderShipped"], "The app 'auth' is an installed package"),
        (["make_event", "stall.order-shipped"], "'order-shipped' is not a name"),
        (["make_event", "stall.class"], "'class' is not a name"),
        (["make_event", "stall.A", "--app", "whik"], "another app than --app whik"),
        (["make_event", "stall.Known"], "Known has a meaning"),
        (["make_event", "stall.A", "--model", "Nothing"], "Give --model as app label and class"),
        (["make_event", "stall.A", "--channel", "a b"], "Give another one with --channel."),
        (["make_event", "stall.주문"], "Give another one with --channel."),
        (["make_event", "stall.Order", "--model", "Order"], "Order has a meaning"),
        (["make_listener", "stall.a", "--event", "No"], "Name it as in shop.OrderShipped"),
        (["make_listener", "stall.a", "--event", "stall.No"], "make_event"),
        (["make_listener", "stall.a", "--event", "stall.broken.No"], "a_package_that_is_not_there"),
        (["make_listener", "stall.a", "--event", "stall.half.No"], "never closed"),
        (["make_listener", "stall.Known", "--event", "stall.Known"], "Known has a meaning"),
        (["make_listener", "a", "--event", "datetime.date"], "Name an app, as in shop.a"),
    ],
)
def test_refusal_is_one_line_with_the_way_out(
    arguments: list[str], message: str, stall: Path
) -> None:
    """Nothing is written."""
    events = "class Known: ...\n"
    (stall / "events.py").write_text(events)
    (stall / "broken.py").write_text("import a_package_that_is_not_there\n")
    (stall / "half.py").write_text("class Half(\n")
    before = sorted(path.name for path in stall.iterdir())
    printed = run(*arguments)
    assert printed.startswith("CommandError: ")
    assert message in printed
    assert "\n" not in printed
    assert (stall / "events.py").read_text() == events
    assert sorted(path.name for path in stall.iterdir()) == before


def test_module_that_is_no_python_is_not_touched(stall: Path) -> None:
    """Its author is in the middle of something."""
    (stall / "events.py").write_text("class Half(\n")
    assert "events cannot be imported" in run("make_event", "stall.OrderShipped")
    assert (stall / "events.py").read_text() == "class Half(\n"

"""What happens when Django starts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.test import override_settings


@pytest.fixture
def new_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the directory of an app, ``newborn``, that can be installed."""
    package = tmp_path / "newborn"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "newborn"]:
        del sys.modules[name]


def start_with(app: str) -> None:
    """Start Django with `app` installed after broadcasting, and go back."""
    with override_settings(INSTALLED_APPS=["broadcasting", app]):
        apps.get_app_config("broadcasting").ready()


def test_listeners_of_every_app_are_imported(new_app: Path) -> None:
    """Of apps that come later in INSTALLED_APPS, too."""
    (new_app / "listeners.py").write_text("HEARD = True\n")
    start_with("newborn")
    assert sys.modules["newborn.listeners"].HEARD is True


def test_an_app_without_listeners_is_fine(new_app: Path) -> None:
    """Most have none."""
    start_with("newborn")
    assert "newborn.listeners" not in sys.modules


def test_a_mistake_in_listeners_is_not_swallowed(new_app: Path) -> None:
    """The project hears of it at the start, not by events that nobody hears."""
    (new_app / "listeners.py").write_text("import no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        start_with("newborn")


def test_the_demos_listeners_are_there() -> None:
    """They were imported when the suite started."""
    assert "whik.listeners" in sys.modules


def test_the_app_has_neither_models_nor_migrations() -> None:
    """It can be installed without touching the database."""
    config = apps.get_app_config("broadcasting")
    assert list(config.get_models()) == []
    assert not (Path(config.path) / "migrations").exists()

"""
Nothing public is without documentation.

The pages under ``docs/`` are held against the code: who adds a name, a check, an option,
a setting or a close code is told here which page is to say so.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand
from django.dispatch import Signal

import broadcasting
from broadcasting import applications as credentials
from broadcasting import conf, signals, testing
from broadcasting.drivers import base
from broadcasting.protocol import errors
from tests.test_imports import FLOORS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "broadcasting"
COMMANDS = sorted(p.stem for p in (PACKAGE / "management" / "commands").glob("[!_]*.py"))

PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])

# ``.. autofunction:: broadcasting.event`` and its like in docs/reference/.
DIRECTIVE = re.compile(r"^\.\. auto\w+:: ([\w.]+)", re.MULTILINE)
# Django gives every command these; nobody looks for them here.
COMMON_OPTIONS = {action.dest for action in BaseCommand().create_parser("manage.py", "x")._actions}


def read(page: str) -> str:
    """Return the text of a page of ``docs/``."""
    return (DOCS / page).read_text()


def code_in(text: str) -> set[str]:
    """Return what stands in backticks: the words of it, and the whole."""
    spans = re.findall(r"`([^`\n]+)`", text)
    return {*spans, *(word for span in spans for word in re.split(r"[\s,=\[\]]+", span))}


def in_reference() -> set[str]:
    """Return the dotted names that a page of the reference documents."""
    pages = (DOCS / "reference").glob("*.md")
    return {name for page in pages for name in DIRECTIVE.findall(page.read_text())}


def sources() -> Iterator[str]:
    """Yield the source of every module."""
    return (path.read_text() for path in PACKAGE.rglob("*.py"))


# Python


def test_reference_has_every_public_name() -> None:
    """Whatever can be imported from `broadcasting` stands in the reference."""
    assert {f"broadcasting.{name}" for name in broadcasting.__all__} <= in_reference()
    assert {f"broadcasting.testing.{name}" for name in testing.__all__} <= in_reference()


@pytest.mark.parametrize("module", ["broadcasting.exceptions"])
def test_reference_has_every_name_of_a_public_module(module: str) -> None:
    """Modules that users import from hide nothing."""
    names = {
        f"{module}.{name}"
        for name, value in vars(import_module(module)).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module
    }
    assert names
    exported = {f"{module}.{name}" for name in broadcasting.__all__}
    assert names - exported <= in_reference()


def test_reference_has_every_template_tag() -> None:
    """The tags of `{% load broadcasting %}` are documented."""
    module = "broadcasting.templatetags.broadcasting"
    tags = import_module(module).register.tags
    assert {f"{module}.{name}" for name in tags} <= in_reference()


def test_reference_has_the_contracts_of_drivers() -> None:
    """Each abstract class of a connection's ends is documented for who writes a driver."""
    contracts = {
        f"{base.__name__}.{name}"
        for name, value in vars(base).items()
        if inspect.isabstract(value) and value.__module__ == base.__name__
    }
    assert contracts
    assert contracts <= in_reference()


def test_reference_names_what_exists() -> None:
    """No directive is left over from a name that has gone."""
    for name in in_reference():
        head, _, tail = name.rpartition(".")
        try:
            import_module(name)
        except ModuleNotFoundError:
            assert hasattr(import_module(head), tail), name


def test_public_names_say_what_they_do() -> None:
    """The reference is made of docstrings, so each name has one of its own."""
    for name in broadcasting.__all__:
        value = getattr(broadcasting, name)
        assert vars(value).get("__doc__") or value.__doc__, name


def test_signals_page_has_every_signal() -> None:
    """docs/signals.md names each signal that can be received."""
    known = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert known
    assert known <= code_in(read("signals.md"))


@pytest.mark.parametrize(
    ("owner", "pages"),
    [
        (broadcasting.ShouldBroadcast, ["events.md", "queues.md"]),
        (broadcasting.BroadcastNotification, ["notifications.md"]),
        (broadcasting.BroadcastsModelEvents, ["models.md"]),
        (broadcasting.BroadcastsQuerySet, ["models.md"]),
    ],
)
def test_pages_have_every_method(owner: type, pages: list[str]) -> None:
    """What a project may override or call of a class stands where the class is explained."""
    named = code_in("".join(map(read, pages)))
    names = {name for name in vars(owner) if name.startswith(("broadcast_", "with_"))}
    assert names
    calls = {name.partition("(")[0].rpartition(".")[2] for name in named}
    assert names <= named | calls


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_name_what_exists(page: Path) -> None:
    """What an example imports from here, or names in a setting, is there; its Python is Python."""
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for name in _names_of_ours_in(_parsed(block)):
            head, _, tail = name.rpartition(".")
            assert hasattr(import_module(head), tail) or find_spec(name), name


# Checks, commands, settings, codes


def test_checks_page_has_every_id() -> None:
    """docs/checks.md explains each id that a check can report, and no other."""
    pattern = r"broadcasting\.[EWI]\d{3}"
    used = {id_ for source in sources() for id_ in re.findall(rf'"({pattern})"', source)}
    assert used == set(re.findall(pattern, read("checks.md")))


def test_commands_page_has_every_command() -> None:
    """docs/commands.md has a heading for each command."""
    headings = set(re.findall(r"^## `(\w+)`", read("commands.md"), re.MULTILINE))
    assert headings == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_page_has_every_option(name: str) -> None:
    """The section of a command names each of its options and arguments."""
    sections = re.split(r"^## ", read("commands.md"), flags=re.MULTILINE)
    (section,) = [text for text in sections if text.startswith(f"`{name}`")]
    parser = load_command_class("broadcasting", name).create_parser("manage.py", name)
    named = code_in(section)
    for action in parser._actions:
        if action.dest not in COMMON_OPTIONS:
            spellings = {*action.option_strings, action.dest, str(action.metavar)}
            assert spellings & named, f"{action.option_strings or action.dest} of {name}"


def test_settings_page_has_every_key() -> None:
    """docs/settings.md names each key of BROADCASTING, of its parts and of the drivers."""
    named = code_in(read("settings.md") + read("webhooks.md"))
    sections = set(re.findall(r"^## `([A-Z_]+)`", read("settings.md"), re.MULTILINE))
    assert set(conf.reading.KEYS) <= sections
    computed = {"allowed_hosts", "encryption_master_key", "options", "alias", "retentions"}
    for dataclass in _dataclasses_of_settings():
        keys = {f.name.upper() for f in dataclasses.fields(dataclass) if f.name not in computed}
        assert keys <= named, dataclass.__name__


@pytest.mark.parametrize("path", sorted((PACKAGE / "drivers").rglob("*.py")), ids=lambda p: p.stem)
def test_settings_page_has_every_option_of_a_driver(path: Path) -> None:
    """docs/settings.md names each keyword argument of a driver's write end."""
    named = code_in(read("settings.md"))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Broadcaster"):
            for option in _keywords_of_constructor(node) - {"app", "first_app_id", "retentions"}:
                assert option.upper() in named, f"{option.upper()} of {node.name}"


def test_settings_page_has_the_keys_of_a_connection() -> None:
    """Those that are not the driver's stand beside `DRIVER`, since the rest is said to be its."""
    section = read("settings.md").partition("## `CONNECTIONS`")[2].partition("## ")[0]
    fields = {f.name.upper() for f in dataclasses.fields(conf.Connection)}
    assert fields - {"ALIAS", "OPTIONS"} <= set(
        re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    )


def test_settings_page_has_every_level_of_a_logger() -> None:
    """Whoever reads the log finds there what a line of it may be about."""
    levels = {"info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}
    rows = dict(re.findall(r"^\| `(broadcasting\.\w+)` \| (.*) \|$", read("settings.md"), re.M))
    for source in sources():
        for logger in re.findall(r'^logger = logging\.getLogger\("([\w.]+)"\)', source, re.M):
            used = {levels.get(name) for name in re.findall(r"\blogger\.(\w+)\(", source)} - {None}
            if used:
                assert used <= set(re.findall(r"\b[A-Z]+(?=: )", rows[logger])), logger


def test_operations_page_quotes_lines_as_they_are_logged() -> None:
    """A line of the log that somebody looks up in docs/operations.md is found there."""
    nodes = (node for source in sources() for node in ast.walk(ast.parse(source)))
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    logged = re.sub(r"%[sdrg]", "…", "\n".join(texts))
    rows = re.findall(r"^\| (?:info|warning|error) \| (.+?) \|", read("operations.md"), re.M)
    lines = [line for row in rows for line in re.findall("`(.+?)`", row)]
    assert len(lines) > 20
    for line in lines:
        assert line.removesuffix(" …").rstrip(".:") in logged, line


def test_close_codes_page_has_every_code() -> None:
    """docs/close-codes.md explains each code of the protocol that the server knows."""
    codes = {
        str(value.code)
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.PusherError) and value.code
    }
    assert len(codes) > 10
    assert codes <= set(re.findall(r"\b4\d{3}\b", read("close-codes.md")))


# The pages


def test_every_page_is_in_the_contents() -> None:
    """A reader finds each page from the first one: by a link, and in the menu."""
    index = read("index.md")
    menu = {
        line
        for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
        for line in block.splitlines()
        if line and not line.startswith(":")
    }
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert menu == pages | {"reference/index"}
    assert menu == {target.removesuffix(".md") for target in re.findall(r"\]\(([^)]+)\)", index)}


@pytest.mark.parametrize("page", ["architecture.md", "dependencies.md", "development.md"])
def test_pages_name_files_that_exist(page: str) -> None:
    """The paths in backticks are those of the library or of the repository."""
    for path in re.findall(r"`((?:\w+/)*(?:\w+/|\w+\.py))`", read(page)):
        assert (PACKAGE / path).exists() or (ROOT / path).exists(), path


def test_architecture_draws_the_floors_as_they_are_checked() -> None:
    """The drawing of docs/architecture.md has each part of the library on its floor."""
    drawn = {
        part: int(floor)
        for floor, parts in re.findall(r"^(\d) +(.+)$", read("architecture.md"), re.MULTILINE)
        for part in re.findall(r"\w+", parts)
    }
    assert drawn == {part: floor for part, floor in FLOORS.items() if part != "__main__"}


def test_links_lead_to_files() -> None:
    """A link to a file of the repository is one that exists, in the README as well."""
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{target} in {page.name}"


def _parsed(block: str) -> ast.Module:
    code = re.sub(r"(\.\.\.|…), ", "", block)  # What a reader has there already.
    try:
        return ast.parse(textwrap.dedent(code))
    except SyntaxError:  # Some keys of a dictionary.
        return ast.parse(f"{{{code}}}")


def _names_of_ours_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        else:
            continue
        yield from (n for n in names if re.fullmatch(r"broadcasting(\.[A-Za-z_]+)+", n))


def _dataclasses_of_settings() -> Iterator[Any]:
    yield from (credentials.Application, credentials.Webhook)
    for value in vars(conf.schema).values():
        own = isinstance(value, type) and value.__module__ == conf.schema.__name__
        if own and dataclasses.is_dataclass(value) and value is not conf.schema.Settings:
            yield value


def _keywords_of_constructor(node: ast.ClassDef) -> set[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return {argument.arg for argument in item.args.kwonlyargs}
    return set()

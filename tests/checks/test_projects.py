"""What ``manage.py check --deploy`` says of whole projects. Each spoils one thing, or nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Settings module in projects/ -> the ids that it triggers, all of them.
PROJECTS = {
    "right": "",
    "unknown_driver": "E001",
    "missing_package": "E001",
    "no_layer": "E002",
    "layer_without_package": "E002",
    "no_asgi": "E003",
    "asgi_of_nobody": "E003",
    "known_secret_key": "E004",
    "known_secret": "E004",
    "declaration_of_nothing": "E005",
    "undeclared_events": "E006",
    "no_daphne": "I002",
    "no_middleware": "I003",
    "overlapping": "W001",
    "shared_layer": "I001 W002",
    "no_pynacl": "W003",
    "no_hiredis": "W004",
    "unknown_queue": "E001",
    "inline_queue": "W005",
    "daphne_last": "W006",
    "old_daphne": "W007",
    "blocking_layer": "W008",
    "forgotten_rules": "W009",
    "sensitive_fields": "W010",
    "no_urls": "W011",
    "pages_only": "W012",
    "short_secret": "W013",
    "any_origin": "W014",
    "any_host": "W014",
    "in_memory_layer": "W015",
    "many_workers": "W016",
    "unsendable_fields": "W017",
}
DEPLOYMENT = {"E004", "W013", "W014", "W015", "W016"}

HOME = "tests.checks.projects"
SILENCE = "System check identified no issues (0 silenced).\n"

Check = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def check() -> Iterator[Check]:
    """Return what checks a settings module, and returns exit code and output."""
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

        def run(settings: str, *options: str) -> tuple[int, str]:
            asked.write(json.dumps([settings, *options]) + "\n")
            asked.flush()
            code, output = json.loads(answered.readline())
            return code, output

        yield run
        asked.close()


def ids_in(output: str) -> set[str]:
    """Return the ids of what was reported, having looked that each hint leads to its section."""
    reported = re.findall(r"\(broadcasting\.(\w+)\) .*\n\tHINT: .* See (\S+)$", output, re.M)
    assert len(reported) == output.count("(broadcasting.")
    for id_, section in reported:
        assert section == f"docs/checks.md#broadcasting{id_.lower()}"
    return {id_ for id_, _ in reported}


@pytest.mark.parametrize(("project", "ids"), PROJECTS.items())
def test_project_is_told_what_is_wrong_with_it(check: Check, project: str, ids: str) -> None:
    """That and nothing else, each with a hint that leads to its section of docs/checks.md."""
    code, output = check(f"{HOME}.{project}", "--deploy")
    assert ids_in(output) == set(ids.split()), output
    assert code == ("E" in ids), output


@pytest.mark.parametrize("project", [name for name, ids in PROJECTS.items() if ids in DEPLOYMENT])
def test_what_matters_in_production_is_said_with_deploy_only(check: Check, project: str) -> None:
    """Whoever develops is left alone."""
    assert check(f"{HOME}.{project}") == (0, SILENCE)


def test_the_demo_passes(check: Check) -> None:
    """As it is started without a setting of one's own, but for the one that it silences."""
    code, output = check("whik.settings")
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

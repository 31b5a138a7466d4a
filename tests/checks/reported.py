"""What a check reports under given settings."""

from typing import Any

from django.test import override_settings

from broadcasting.checks import run
from broadcasting.checks.problem import Check


def reported(check: Check, **settings: Any) -> list[str]:
    """Return id, text and hint of each problem that the demo does not silence."""
    with override_settings(**settings):
        found = [problem for problem in run(check) if not problem.is_silenced()]
    return [f"{str(p.id).removeprefix('broadcasting.')} {p.msg} {p.hint}" for p in found]


def ids(check: Check, **settings: Any) -> list[str]:
    """Return the ids alone."""
    return [text.partition(" ")[0] for text in reported(check, **settings)]

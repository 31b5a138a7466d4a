"""What the doctor makes of a system check."""

import pytest
from django.core import checks
from django.core.checks import CheckMessage

from broadcasting.conf import get_settings
from broadcasting.diagnostics.settings import diagnose_settings


@pytest.mark.parametrize(
    ("severity", "level"),
    [(checks.INFO, "ok"), (checks.WARNING, "warning"), (checks.ERROR, "error")],
)
def test_every_check_says_what_to_do(
    severity: int, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finding that is fine has no fix printed, so its hint stands in the text."""
    message = CheckMessage(severity, "That is so.", hint="Do this.", id="broadcasting.X001")
    monkeypatch.setattr(checks, "run_checks", lambda **options: [message])
    *_, found = diagnose_settings(get_settings(), include_deployment_checks=False)
    assert (found.level, found.subject) == (level, "broadcasting.X001")
    printed = found.text if level == "ok" else f"{found.text} {found.fix}"
    assert printed == "That is so. Do this."

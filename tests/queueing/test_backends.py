"""Ways into a queue."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from broadcasting import broadcast_to
from broadcasting.queueing.backends import CustomBackend, get_backend

WAY = "no function"


def enqueue(envelope: dict[str, Any], *, queue: str, delay: float) -> None:
    """Stand for a project's own."""


def using(backend: str) -> override_settings:
    """Return the settings of a project that queues everything, for a ``with``."""
    return override_settings(BROADCASTING={"DEFAULT": "null", "QUEUE": {"BACKEND": backend}})


def test_dotted_path_leads_to_a_function_of_the_project() -> None:
    """It may know any queue, and is taken to be able to delay."""
    with using(f"{__name__}.enqueue"):
        backend = get_backend()
    assert backend == CustomBackend(enqueue)
    assert backend.can_delay
    assert backend.shortcoming is None
    backend.check("whichever")


@pytest.mark.parametrize(
    ("backend", "expected"),
    [("nowhere.enqueue", "cannot be imported"), (f"{__name__}.WAY", "is not callable")],
)
def test_function_must_be_one(backend: str, expected: str) -> None:
    """The mistake is raised where the event is fired."""
    with using(backend), pytest.raises(ImproperlyConfigured, match=expected):
        broadcast_to("news", "Said", {})

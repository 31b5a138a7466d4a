"""Which of a server's processes this one is."""

from pathlib import Path

import pytest

from broadcasting.server.metrics import workers as worker
from broadcasting.server.metrics.workers import Worker, get_worker, set_worker


def test_a_process_is_what_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word it is the only one, with no place to meet others."""
    monkeypatch.setattr(worker, "_worker", worker._worker)
    assert get_worker() == Worker(number=1, directory=None, count=1)
    second = Worker(2, Path("/run/server"), 2)
    set_worker(second)
    assert get_worker() is second

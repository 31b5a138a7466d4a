"""How the workers of a host share their numbers."""

import os
from pathlib import Path

import pytest

from broadcasting.server.hub import Hub
from broadcasting.server.metrics import workers
from broadcasting.server.metrics.workers import (
    Worker,
    get_worker,
    read_siblings,
    set_worker,
    share_metrics,
)


def share_as(worker: Worker, hub: Hub) -> None:
    before = get_worker()
    set_worker(worker)
    share_metrics(hub)
    set_worker(before)


def test_a_process_is_the_only_worker_unless_told() -> None:
    assert get_worker() == Worker(number=1, directory=None, count=1)
    assert read_siblings() == []


async def test_numbers_of_the_others_can_be_read(hub: Hub, directory: Path) -> None:
    hub.stats.opened = 7
    share_as(Worker(2, directory, 2), hub)
    share_metrics(hub)
    assert sorted(os.listdir(directory)) == ["metrics-1.json", "metrics-2.json"]
    [(number, pid, families)] = read_siblings()
    assert (number, pid) == (2, os.getpid())
    [(labels, opened)] = families["connections_opened"]
    assert (list(labels), opened) == ([], 7)
    past = (directory / "metrics-2.json").stat().st_mtime - workers.FRESH - 1
    os.utime(directory / "metrics-2.json", (past, past))
    assert read_siblings() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7", '{"worker": 2}'])
async def test_a_file_that_is_not_understood_is_left_out(directory: Path, text: str) -> None:
    (directory / "metrics-2.json").write_text(text)
    assert read_siblings() == []


@pytest.mark.parametrize(("folder", "count"), [("", 1), (None, 2), ("gone", 2)])
async def test_nothing_is_written_where_nobody_reads(
    hub: Hub, directory: Path, folder: str | None, count: int
) -> None:
    share_as(Worker(1, None if folder is None else directory / folder, count), hub)
    assert os.listdir(directory) == []

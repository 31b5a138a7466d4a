"""Serve again whenever a file of the project changes, for development."""

import os
import sys
from functools import partial
from pathlib import Path
from socket import socket

import django
from django.apps import apps
from uvicorn.supervisors import ChangeReload

from ...server.metrics.workers import Worker, set_worker
from .options import Options
from .server import serve


def serve_until_changed(options: Options, sockets: list[socket], worker: Worker) -> None:
    """Serve in one process after the other, until told to leave."""
    config = options.config(reload_dirs=own_directories())
    ChangeReload(config, partial(_serve, options, worker), sockets).run()


def own_directories() -> list[str]:
    """Return where the project's files are; looking through all that is installed is slow."""
    places = {Path(config.path) for config in apps.get_app_configs()}
    settings_module = sys.modules.get(os.environ.get("DJANGO_SETTINGS_MODULE", ""))
    if settings_module is not None and settings_module.__file__ is not None:
        places.add(Path(settings_module.__file__).parent)
    installed = {"site-packages", "dist-packages"}
    return sorted(str(place) for place in places if not installed & {*place.parts})


def _serve(options: Options, worker: Worker, sockets: list[socket]) -> None:
    django.setup()
    set_worker(worker)
    serve(options, sockets)

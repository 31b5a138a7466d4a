"""
Views that take their time; a site that cannot start where ``BROKEN`` names a file, and whose
processes do so one by one where ``BROKEN_ONCE`` does.
"""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

with suppress(FileNotFoundError):
    Path(os.environ.get("BROKEN_ONCE", "/nowhere")).unlink()
    raise RuntimeError("This process is broken")
if Path(os.environ.get("BROKEN", "/nowhere")).exists():
    raise RuntimeError("This site is broken")


async def wait(request: HttpRequest, milliseconds: int) -> HttpResponse:
    """Answer late."""
    print(f"wait {milliseconds} begins", flush=True)
    await asyncio.sleep(milliseconds / 1000)
    return HttpResponse(f"waited {milliseconds}")


def hang(request: HttpRequest, seconds: int) -> HttpResponse:
    """Answer late, from a thread that nothing can end."""
    print(f"hang {seconds} begins", flush=True)
    time.sleep(seconds)
    return HttpResponse(f"hung {seconds}")


urlpatterns = [
    path("", include("broadcasting.urls")),
    path("wait/<int:milliseconds>", wait),
    path("hang/<int:seconds>", hang),
]

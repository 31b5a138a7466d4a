"""
Run ``manage.py check`` for one project after another, each in a fork of its own.

Starting Python and importing Django takes longer than the check. A line of JSON on stdin
asks, with the code that the settings of the project consist of and the options of the
command; one on stdout answers with the exit code and what was printed.
"""

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from types import ModuleType

# What takes long to import and knows no settings.
import daphne.server  # noqa: F401
import django.contrib.admin.options  # noqa: F401
import factory  # noqa: F401
import prometheus_client  # noqa: F401
import urllib3  # noqa: F401
from django.core.management import execute_from_command_line

PROJECT = "project"


def check(code: str, options: Sequence[str]) -> tuple[int, str]:
    """Return the exit code of a check, and its output."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os._exit(_run(code, options, output.fileno()))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read()


def _run(source: str, options: Sequence[str], output: int) -> int:
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 0
    try:
        exec(source, vars(sys.modules.setdefault(PROJECT, ModuleType(PROJECT))))
        os.environ["DJANGO_SETTINGS_MODULE"] = PROJECT
        execute_from_command_line(["manage.py", "check", "--tag", "broadcasting", *options])
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    for line in sys.stdin:
        code, *rest = json.loads(line)
        print(json.dumps(check(code, rest)), flush=True)

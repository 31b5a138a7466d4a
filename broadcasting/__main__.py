"""
``python -m broadcasting install``: the command for a project that has not got it yet.

``manage.py`` knows the commands of installed apps only. Run this one in its folder; it
takes the options of ``manage.py broadcast_install``.
"""

import os
import sys
from pathlib import Path

from .management.commands.broadcast_install import Command
from .management.editing.source import NotUnderstood, Source
from .management.installing.project import SETTINGS_VARIABLE, find_settings_module

USAGE = "usage: python -m broadcasting install [options]; --help lists them"


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status."""
    if arguments[:1] != ["install"]:
        print(USAGE, file=sys.stderr)
        return 2
    if SETTINGS_VARIABLE not in os.environ:
        try:
            module = find_settings_module(Source(Path("manage.py").absolute()))
        except NotUnderstood:
            module = None
        if module:
            os.environ[SETTINGS_VARIABLE] = module
    Command().run_from_argv(["python -m broadcasting", *arguments])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

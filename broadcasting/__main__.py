"""
``python -m broadcasting install``: the command for a project that does not have the app yet.

``manage.py`` knows the commands of installed apps only. Run this one in its folder; it
takes the options of ``manage.py broadcast_install``.
"""

import os
import sys
from pathlib import Path

from .management.commands.broadcast_install import Command
from .management.install import SETTINGS_VARIABLE, settings_named_in

USAGE = "usage: python -m broadcasting install [options]; --help lists them"


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    if arguments[:1] != ["install"]:
        print(USAGE, file=sys.stderr)
        return 2
    if SETTINGS_VARIABLE not in os.environ and (module := settings_named_in(Path("manage.py"))):
        os.environ[SETTINGS_VARIABLE] = module
    Command().run_from_argv(["python -m broadcasting", *arguments])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

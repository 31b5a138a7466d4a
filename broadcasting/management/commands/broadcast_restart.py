"""Have all server processes restart, one after the other."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...drivers.base import CONTROL, RESTART
from ...drivers.registry import broadcasters, server_alias
from ...exceptions import BroadcastError
from ...protocol.messages import encode


class Command(BaseCommand):
    """
    Tell the processes that ``broadcast_serve`` started, on every machine, to restart.

    It returns when the bus has been told, not when they have done so.
    """

    help = "Restart all workers of broadcast_serve, on every machine, one after the other."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            alias = server_alias()
            if broadcasters[alias].posts_to is not None:
                raise CommandError(
                    f"The connection {alias!r} ends at the server's process, which "
                    f"cannot be told from here. Send that the signal SIGHUP: "
                    f"kill -HUP <process id>."
                )
            broadcasters[alias].broadcast([CONTROL], RESTART, encode({}))
        except (BroadcastError, ImproperlyConfigured) as exc:
            raise CommandError(str(exc)) from exc
        if options["verbosity"] > 0:
            self.stdout.write(
                f"Told the servers through connection {alias!r}. Their workers "
                f"restart one after the other."
            )

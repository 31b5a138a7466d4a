"""
Measure what a delivery, a connection and a publish cost, here and elsewhere.

Everything runs on this machine, on 127.0.0.1, and is ended at the end. Linux only.
Packages of peers go to var/bench, and so do the results.
"""

import argparse
import gc
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .dialects import Keys
from .peers import SCRATCH
from .results import OURS
from .rounds import GROUPS, QUICK, Bench, Extent
from .servers import KEYS, SERVERS, Running, Server
from .table import report

QUICK_SERVERS = (OURS, f"{OURS}-redis", "soketi", "channels-uvicorn")
QUICK_GROUPS = ("fanout", "latency", "connect", "publish", "memory", "event")


def main() -> None:
    """Run what the command line asks for, print the tables, write the results."""
    arguments = _parser().parse_args()
    _raise_file_limit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # So that servers are ended.
    gc.disable()  # It would hold up all sockets; `Bench` collects between two runs.
    extent = QUICK if arguments.quick else Extent()
    for name in ("rounds", "seconds", "subscribers", "idle", "minutes"):
        if (value := getattr(arguments, name)) is not None:
            extent = replace(extent, **{name: value})
    groups = arguments.only or (QUICK_GROUPS if arguments.quick else GROUPS)
    bench = Bench(_servers(arguments), groups, extent, _say)
    results = bench.run()
    path = Path(arguments.json)
    results.save(path)
    print(report(results))
    print(f"\nWritten to {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [server.name for server in SERVERS]
    parser.add_argument("--quick", action="store_true", help="two minutes: once, and less of it")
    parser.add_argument(
        "--servers", type=_choice(names), metavar="NAME,NAME", help=f"of: {', '.join(names)}"
    )
    parser.add_argument(
        "--only", type=_choice(GROUPS), metavar="NAME,NAME", help=f"of: {', '.join(GROUPS)}"
    )
    parser.add_argument("--rounds", type=int, help="how often each server has its turn (3)")
    parser.add_argument("--seconds", type=float, help="for each way of publishing (2.5)")
    parser.add_argument("--subscribers", type=int, help="of the one channel (1000)")
    parser.add_argument("--idle", type=int, help="sockets whose memory is measured (5000)")
    parser.add_argument("--minutes", type=float, help="begin nothing after so many (24)")
    parser.add_argument("--json", default=str(SCRATCH / "results.json"), help="where results go")
    running = parser.add_argument_group("a server that runs already, instead of ours")
    running.add_argument("--url", metavar="HOST:PORT", help="where it speaks Pusher's protocol")
    running.add_argument("--pid", type=int, help="its process, whose children are counted too")
    running.add_argument("--app-id", default=KEYS.app_id)
    running.add_argument("--key", default=KEYS.key)
    running.add_argument("--secret", default=KEYS.secret)
    return parser


def _choice(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _servers(arguments: argparse.Namespace) -> list[Server]:
    if arguments.url is not None:
        host, _, port = arguments.url.rpartition(":")
        if arguments.pid is None or not port.isdigit():
            sys.exit("--url takes HOST:PORT, and --pid must say whose CPU time is measured.")
        keys = Keys(arguments.app_id, arguments.key, arguments.secret)
        return [
            Running(
                name=OURS,
                title=arguments.url,
                keys=keys,
                host=host or "127.0.0.1",
                port=int(port),
                pid=arguments.pid,
            )
        ]
    wanted = arguments.servers or (QUICK_SERVERS if arguments.quick else None)
    return [server for server in SERVERS if wanted is None or server.name in wanted]


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

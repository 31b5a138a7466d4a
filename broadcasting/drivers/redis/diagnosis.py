"""A look at a running Redis: its version, its distance, and whether messages arrive."""

import secrets
import time
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from ..diagnosis import Diagnosis, clock_diagnosis
from .names import Names

ROUND_TRIPS = 5
TIMEOUT = 5.0  # Seconds that a message of ours may take to come back.

# What SPUBLISH needs, and the oldest that Redis still mended when this was written.
SHARDED_SINCE = (7, 0)
TESTED_SINCE = (6, 2)


def diagnose(client: Redis, names: Names) -> list[Diagnosis]:
    """
    Return what is found at the Redis of `client`.

    It is sent PING, TIME and INFO, and one message on a channel of its own below the prefix.
    """
    where = _address(client)
    subject = f"Redis {where}"
    try:
        round_trip = min(_time_of(client.ping) for _ in range(ROUND_TRIPS))
        seconds, micros = client.time()
        ahead = seconds + micros / 1e6 - time.time()
        info = _info(client)
        travel = _travel_time(client, names)
    except AuthenticationError as exc:
        fix = "Correct user and password in the connection's URL."
        return [Diagnosis("error", subject, f"It refuses to log in: {exc}.", fix)]
    except NoPermissionError as exc:
        fix = "Give the user the rules of docs/redis.md, its channels' pattern included."
        return [Diagnosis("error", subject, f"The user may not: {exc}.", fix)]
    except (RedisError, OSError) as exc:
        fix = "Start Redis there, or correct the connection's URL."
        return [Diagnosis("error", subject, f"It does not answer: {exc}.", fix)]
    if travel is None:
        text = f"It answers, and a message was not back after {TIMEOUT:g} s."
        fix = "Connect to a master, not to a replica or a proxy that keeps PUBLISH to itself."
        return [Diagnosis("error", subject, text, fix)]
    version = str(info.get("redis_version", "of unknown version"))
    text = f"{version}; round trip {_ms(round_trip)}, a message takes {_ms(travel)}."
    found = [Diagnosis("ok", subject, text), clock_diagnosis(subject, ahead)]
    found += [_about_version(subject, version, names), _about_memory(subject, info)]
    return [each for each in found if each is not None]


def _about_version(subject: str, version: str, names: Names) -> Diagnosis | None:
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return None
    since = SHARDED_SINCE if names.is_sharded else TESTED_SINCE
    if (major, minor) >= since:
        return None
    wanted = f"{since[0]}.{since[1]}"
    if names.is_sharded:
        text = f"A cluster carries messages with SPUBLISH, which {version} does not have."
        return Diagnosis("error", subject, text, f"Install Redis {wanted} or newer.")
    text = f"{version} is older than what is tested."
    return Diagnosis("warning", subject, text, f"Install Redis {wanted} or newer.")


def _about_memory(subject: str, info: dict[str, Any]) -> Diagnosis | None:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if not info.get("maxmemory") or policy == "noeviction":
        return None
    return Diagnosis(
        "warning",
        subject,
        f"maxmemory-policy is {policy}: short of memory it forgets members of presence channels.",
        "Set maxmemory-policy noeviction, or use a Redis of its own for broadcasting.",
    )


def _info(client: Redis) -> dict[str, Any]:
    try:
        return dict(client.info())
    except NoPermissionError:  # docs/redis.md does not ask for INFO.
        return {}


def _travel_time(client: Redis, names: Names) -> float | None:
    """Return the seconds after which a published message is read, `None` if it is not."""
    channel = f"{names.prefix}doctor-{secrets.token_hex(4)}"
    with client.pubsub() as pubsub:
        (pubsub.ssubscribe if names.is_sharded else pubsub.subscribe)(channel)
        deadline = time.monotonic() + TIMEOUT
        began = None
        while (left := deadline - time.monotonic()) > 0:
            message = pubsub.get_message(timeout=left)
            if message is None:
                continue
            if message["type"].endswith("message") and began is not None:
                return time.perf_counter() - began
            if message["type"].endswith("subscribe"):
                began = time.perf_counter()
                client.execute_command(names.publish, channel, "{}")
    return None


def _address(client: Redis) -> str:
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _time_of(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"

import sys

from tests.checks.projects.right import *  # noqa: F403

sys.modules["redis"] = None  # type: ignore[assignment]  # As if it were not installed.
BROADCASTING = {
    "DEFAULT": "redis",
    "CONNECTIONS": {"redis": {"DRIVER": "broadcasting.drivers.redis.RedisBroadcaster"}},
}

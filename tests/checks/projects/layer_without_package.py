import sys

from tests.checks.projects.right import *  # noqa: F403

sys.modules["channels_redis"] = None  # type: ignore[assignment]  # As if it were not installed.
BROADCASTING = {"DEFAULT": "channels"}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}

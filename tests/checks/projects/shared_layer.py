from tests.checks.projects.right import *  # noqa: F403

BROADCASTING = {"DEFAULT": "channels"}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}

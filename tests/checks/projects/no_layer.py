from .right import *  # noqa: F403

BROADCASTING = {"DEFAULT": "channels"}

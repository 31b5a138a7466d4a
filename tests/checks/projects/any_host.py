from .right import *  # noqa: F403

ALLOWED_HOSTS = ["*"]

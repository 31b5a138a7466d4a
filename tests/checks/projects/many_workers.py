import os

from .right import *  # noqa: F403

os.environ["WEB_CONCURRENCY"] = "4"  # As a platform sets it.

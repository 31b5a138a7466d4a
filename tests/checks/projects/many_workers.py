import os

from tests.checks.projects.right import *  # noqa: F403

os.environ["WEB_CONCURRENCY"] = "4"  # As a platform sets it.

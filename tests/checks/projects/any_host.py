from tests.checks.projects.right import *  # noqa: F403

ALLOWED_HOSTS = ["*"]

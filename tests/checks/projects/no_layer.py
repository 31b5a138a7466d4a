from tests.checks.projects.right import *  # noqa: F403

BROADCASTING = {"DEFAULT": "channels"}

from tests.checks.projects.right import *  # noqa: F403

BROADCASTING = {"DEFAULT": "memory", "APPS": [{"ID": "1", "KEY": "shop", "SECRET": "hunter2"}]}

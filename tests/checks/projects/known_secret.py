from tests.checks.projects.right import *  # noqa: F403

SECRET = "7ad3773142a6692b25b8"
BROADCASTING = {"DEFAULT": "memory", "APPS": [{"ID": "1", "KEY": "shop", "SECRET": SECRET}]}

from tests.checks.projects.right import *  # noqa: F403

BROADCASTING = {"DEFAULT": "memory", "QUEUE": {"BACKEND": "shop.tasks.enqueue"}}

from tests.checks.projects.right import *  # noqa: F403

# In a project that has not said otherwise, tasks run at once.
BROADCASTING = {"DEFAULT": "memory", "QUEUE": {}}

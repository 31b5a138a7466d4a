import sys

from tests.checks.projects.right import *  # noqa: F403

sys.modules["nacl"] = None  # type: ignore[assignment]  # As if it were not installed.
MASTER_KEY = "1VZ0pVv1lQ3yq0WQp2b5cXkQm0zS8oG1Yj3tRk5uA7c="
BROADCASTING = {"DEFAULT": "memory", "APPS": [{"ENCRYPTION_MASTER_KEY_BASE64": MASTER_KEY}]}

from tests.checks.projects.right import *  # noqa: F403

ASGI_APPLICATION = "tests.checks.projects.apps.startproject_asgi.application"

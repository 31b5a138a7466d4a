from tests.checks.projects.right import *  # noqa: F403

ASGI_APPLICATION = "shop.asgi.application"

from tests.checks.projects.right import *  # noqa: F403

del ASGI_APPLICATION  # noqa: F821

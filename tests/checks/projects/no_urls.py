from tests.checks.projects.right import *  # noqa: F403

ROOT_URLCONF = "django.contrib.auth.urls"

from tests.checks.projects.right import *  # noqa: F403

SECRET_KEY = "django-insecure-3q2hD0kZ8vT5mWb7yXc1nRf4sLp6uJg9aEoi"

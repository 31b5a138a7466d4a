"""The settings of a project that does everything right. ``test_projects.py`` spoils one thing."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as _APPS

DEBUG = False
SECRET_KEY = "3q2hD0kZ8vT5mWb7yXc1nRf4sLp6uJg9aEoi"
INSTALLED_APPS = ["daphne", *(app for app in _APPS if not app.startswith("tests."))]
ALLOWED_HOSTS = ["shop.example"]
BROADCASTING = {"DEFAULT": "memory"}
CHANNEL_LAYERS = {}
SILENCED_SYSTEM_CHECKS = []

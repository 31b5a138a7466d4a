from tests.checks.projects.right import *  # noqa: F403
from tests.checks.projects.right import INSTALLED_APPS as _APPS

DEBUG = True
INSTALLED_APPS = [app for app in _APPS if app != "daphne"]

from tests.checks.projects.right import *  # noqa: F403
from tests.checks.projects.right import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.checks.projects.apps.overlapping"]

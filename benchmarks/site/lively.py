"""The site with everything on that depends on who is there."""

from .settings import *  # noqa: F403
from .settings import APP as _APP
from .settings import BROADCASTING as _BROADCASTING

APP = {**_APP, "CLIENT_EVENTS": True, "SUBSCRIPTION_COUNT": True, "PRESENCE_GRACE": 5}
BROADCASTING = {**_BROADCASTING, "APPS": [APP]}

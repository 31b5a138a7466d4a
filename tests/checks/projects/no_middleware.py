from tests.checks.projects.right import *  # noqa: F403
from tests.checks.projects.right import MIDDLEWARE as _MIDDLEWARE

MIDDLEWARE = [path for path in _MIDDLEWARE if not path.endswith(".SocketIdMiddleware")]

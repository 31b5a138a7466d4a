"""What ``broadcast_install`` writes, with double quotes and four spaces."""

import secrets
import string

INCLUDE = 'path("", include("broadcasting.urls"))'
ASGI = '''"""
ASGI config: pages go to Django, WebSockets to broadcasting.
"""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")

application = get_asgi_application()
'''
ROUTING = """\
# Below the call that sets Django up, which the routes take for granted.
from broadcasting.routing import websocket_fallback, websocket_urlpatterns  # noqa: E402

{name} = ProtocolTypeRouter(
    {{
        "http": {name},
        "websocket": URLRouter([*websocket_urlpatterns, websocket_fallback]),
    }}
)
"""
BROADCASTING = """\
# Broadcasting. Who knows the key may open a socket, who knows the secret may publish.
# The secret below is for development; set BROADCAST_SECRET in production.
BROADCASTING = {{
{connection}    "APPS": [
        {{
            "ID": os.environ.get("BROADCAST_APP_ID", "{id}"),
            "KEY": os.environ.get("BROADCAST_KEY", "{key}"),
            "SECRET": os.environ.get(
                "BROADCAST_SECRET", "{secret}"
            ),
        }},
    ],
}}
"""
REDIS_URL = 'os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")'
CONNECTIONS = {
    "memory": '    "DEFAULT": "memory",\n',
    "channels": '    "DEFAULT": "channels",\n',
    "redis": f"""\
    "DEFAULT": "redis",
    "CONNECTIONS": {{
        "redis": {{
            "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
            "URL": {REDIS_URL},
        }},
    }},
""",
}
CHANNEL_LAYERS = f"""\
CHANNEL_LAYERS = {{
    "default": {{
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {{
            "hosts": [
                {{
                    "address": {REDIS_URL},
                    # redis-py 8 ends blocking reads after five seconds unless told otherwise.
                    "socket_timeout": None,
                    "health_check_interval": 15,
                }},
            ],
            "capacity": 10_000,
            "group_expiry": 120,
        }},
    }},
}}
"""


def credentials() -> dict[str, str]:
    """Make an id of digits, as SDKs want it, a key, and a secret that says what it is for."""
    letters = string.ascii_lowercase + string.digits
    return {
        "id": str(100_000 + secrets.randbelow(900_000)),
        "key": "".join(secrets.choice(letters) for _ in range(20)),
        "secret": f"insecure-{secrets.token_hex(16)}",
    }

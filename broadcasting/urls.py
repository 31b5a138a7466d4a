"""
HTTP routes: the Pusher HTTP API, what says who may join a channel, health checks
and metrics.

Include them at the root of the project's URLs, where the SDKs of other languages,
pusher-js and Echo expect them: ``path("", include("broadcasting.urls"))``.
"""

from django.urls import path

from .views.api import api
from .views.auth import auth, user_auth
from .views.health import live, ready, up
from .views.metrics import metrics

app_name = "broadcasting"

urlpatterns = [
    path("broadcasting/auth", auth, name="auth"),
    path("broadcasting/user-auth", user_auth, name="user-auth"),
    # Where pusher-js looks unless it is told otherwise.
    path("pusher/auth", auth, name="pusher-auth"),
    path("pusher/user-auth", user_auth, name="pusher-user-auth"),
    path("apps/<path:rest>", api, name="api"),
    # Where the SDK for Python ends a user's connections.
    path("users/<str:user_id>/terminate_connections", api, name="api-users"),
    path("live", live, name="live"),
    path("ready", ready, name="ready"),
    path("up", up, name="up"),
    path("metrics", metrics, name="metrics"),
]

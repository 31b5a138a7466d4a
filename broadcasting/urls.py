"""
HTTP routes: the Pusher HTTP API.

Include them at the root of the project's URLs, where the SDKs of other languages
expect them: ``path("", include("broadcasting.urls"))``.
"""

from django.urls import path

from .views.api import api

app_name = "broadcasting"

urlpatterns = [
    path("apps/<path:rest>", api, name="api"),
    # Where the SDK for Python ends a user's connections.
    path("users/<str:user_id>/terminate_connections", api, name="api-users"),
]

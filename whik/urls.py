"""URLs of the demo. Those of broadcasting are at the root, where Echo looks for them."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from . import chat_views, login_views, thing_api, thing_views, views

urlpatterns = [
    path("", views.index, name="index"),
    path("pub", views.pub, name="pub"),
    path("sub", views.sub, name="sub"),
    path("chat/", chat_views.rooms, name="chat"),
    path("chat/<str:name>/", chat_views.room, name="room"),
    path("chat/<str:name>/state", chat_views.state, name="room-state"),
    path("chat/<str:name>/messages", chat_views.messages, name="room-messages"),
    path("chat/<str:name>/nickname", chat_views.nickname, name="room-nickname"),
    path("things/", thing_views.things, name="things"),
    path("things/<int:pk>/", thing_views.thing, name="thing"),
    path("things/htmx/", thing_views.things_htmx, name="things-htmx"),
    path("things/htmx/<int:pk>/", thing_views.thing_htmx, name="thing-htmx"),
    path("api/things/", thing_api.things, name="api-things"),
    path("api/things/<path:which>/", thing_api.thing, name="api-thing"),
    path("login/", login_views.DemoLoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    # For responses that name no icon, such as JSON.
    path("favicon.ico", RedirectView.as_view(url=static("whik/mark.svg"))),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("broadcasting.urls")),
]

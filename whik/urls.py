"""Addresses of the demo. Those of broadcasting stand at the root, where Echo looks for them."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("pub", views.pub, name="pub"),
    path("sub", views.sub, name="sub"),
    # For pages that name no icon of their own: JSON, and other people's.
    path("favicon.ico", RedirectView.as_view(url=static("whik/mark.svg"))),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("broadcasting.urls")),
]

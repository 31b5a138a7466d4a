"""Addresses of the demo. Those of broadcasting stand at the root, where Echo looks for them."""

from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("pub", views.pub, name="pub"),
    path("sub", views.sub, name="sub"),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("broadcasting.urls")),
]

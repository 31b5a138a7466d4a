"""The demo's addresses, one page more, and static files for servers other than runserver."""

from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("proof/", TemplateView.as_view(template_name="proof.html")),
    *staticfiles_urlpatterns(),
    path("", include("whik.urls")),
]

"""The login page, which can also sign out a user's other windows."""

from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.utils import timezone

from broadcasting import terminate_user_connections

from .demo_people import people_to_show
from .forms import LoginForm


class DemoLoginView(LoginView):
    """Log in. If asked to, end all other sessions and sockets of the user."""

    form_class = LoginForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"people": people_to_show()}

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        # First, since the sockets of this window are opened later, with the new session.
        response = super().form_valid(form)
        if form.cleaned_data["end_others"]:
            user = form.get_user()
            end_sessions(str(user.pk), kept=self.request.session.session_key)
            # shown
            terminate_user_connections(user)
            # end
        return response


def end_sessions(user_id: str, *, kept: str | None) -> None:
    """Delete all sessions of a user but one, so that reloading does not log in again."""
    alive = Session.objects.filter(expire_date__gt=timezone.now()).exclude(session_key=kept)
    for session in alive.iterator():
        if session.get_decoded().get(SESSION_KEY) == user_id:
            session.delete()

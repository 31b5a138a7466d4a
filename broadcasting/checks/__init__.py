"""System checks, one module for each thing they look at. docs/checks.md has a section on each."""

from functools import partial

from django.core.checks import CheckMessage, register
from django.core.exceptions import ImproperlyConfigured

from .applications import check_origins, check_secrets
from .asgi import check_asgi_application, check_daphne_version, check_runserver
from .connections import check_encryption, check_settings, check_workers
from .layers import check_in_memory_layers, check_layer_timeouts
from .models import check_declared_fields, check_declared_names, check_model_events
from .pages import check_middleware, check_urls
from .problem import Check
from .queue import check_queue
from .rules import check_channel_auth, check_channel_patterns

CHECKS: tuple[Check, ...] = (
    check_settings,
    check_encryption,
    check_queue,
    check_channel_patterns,
    check_channel_auth,
    check_asgi_application,
    check_runserver,
    check_daphne_version,
    check_layer_timeouts,
    check_urls,
    check_middleware,
    check_declared_fields,
    check_declared_names,
    check_model_events,
)
# Of `manage.py check --deploy` only. A check that looked at DEBUG could not be one of the
# others: DEBUG is off in tests too, which run the checks.
DEPLOYMENT_CHECKS: tuple[Check, ...] = (
    check_secrets,
    check_origins,
    check_in_memory_layers,
    check_workers,
)


def register_checks() -> None:
    """Register all checks with Django."""
    for check in CHECKS:
        register(partial(run, check), "broadcasting")
    for check in DEPLOYMENT_CHECKS:
        register(partial(run, check), "broadcasting", deploy=True)


def run(check: Check, app_configs: object = None, **kwargs: object) -> list[CheckMessage]:
    """Return what a check finds. Settings that make no sense are for `check_settings` alone."""
    try:
        return list(check())
    except ImproperlyConfigured:
        return []

"""System checks, one module per thing that is looked at. docs/checks.md has a section on each."""

from .applications import check_origins, check_secrets
from .asgi import check_asgi_application, check_daphne_version, check_runserver
from .connections import check_encryption, check_settings, check_workers
from .layers import check_in_memory_layers, check_layer_timeouts
from .models import check_declared_fields, check_declared_names, check_model_events
from .pages import check_middleware, check_urls
from .queue import check_queue
from .rules import check_channel_auth, check_channel_patterns

CHECKS = (
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
# Of `manage.py check --deploy` only. Whoever looks at DEBUG cannot stand above: it is off
# in tests, too, which run the checks.
DEPLOYMENT_CHECKS = (
    check_secrets,
    check_origins,
    check_in_memory_layers,
    check_workers,
)

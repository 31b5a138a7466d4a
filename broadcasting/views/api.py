"""The Django view of the HTTP API."""

from ..api import routes
from .endpoint import Endpoint

api = Endpoint(routes.answer)

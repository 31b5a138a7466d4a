"""The process that tests of the API have."""

from tests.api.conftest import heard, two_apps

__all__ = ["heard", "two_apps"]

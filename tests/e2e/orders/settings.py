"""The proofs' settings with a model that broadcasts."""

from tests.e2e.proof.settings import *  # noqa: F403
from tests.e2e.proof.settings import INSTALLED_APPS as _PROOF_APPS

INSTALLED_APPS = [*_PROOF_APPS, "tests.e2e.orders"]

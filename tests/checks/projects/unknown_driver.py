from tests.checks.projects.right import *  # noqa: F403

BROADCASTING = {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": "no.such.Driver"}}}

import sys
from pathlib import Path

from tests.checks.projects.right import *  # noqa: F403

# What an older daphne tells of itself.
sys.path.insert(0, str(Path(__file__).parent / "packages"))

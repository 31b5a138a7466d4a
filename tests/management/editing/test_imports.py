"""Imports that are put into a file."""

from pathlib import Path

import pytest

from broadcasting.management.editing.imports import import_module, import_names
from broadcasting.management.editing.source import NotUnderstood, Source


def source_of(text: str) -> Source:
    """Return a file with this text, which is never written."""
    return Source(Path("/nowhere/module.py"), text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import sys\n", "import os\nimport sys\n"),
        ("import abc\nimport sys\n", "import abc\nimport os\nimport sys\n"),
        ("from abc import ABC\n", "import os\nfrom abc import ABC\n"),
        ("import os\n", "import os\n"),
        ("import os.path\n", "import os.path\n"),
        ("import django\n", "import os\n\nimport django\n"),
        (
            "from __future__ import annotations\n",
            "from __future__ import annotations\n\nimport os\n",
        ),
        ('"""Doc."""\nA = 1\n', '"""Doc."""\n\nimport os\nA = 1\n'),
        ("# c\nA = 1\n", "# c\nimport os\n\nA = 1\n"),
        ("", "import os\n"),
        ("import sys", "import os\nimport sys"),
        ("import abc", "import abc\nimport os\n"),
    ],
)
def test_module_is_imported_where_a_sorted_file_has_it(before: str, after: str) -> None:
    """The standard library first, with an empty line below it; once."""
    source = source_of(before)
    import_module(source, "os")
    assert source.text == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from django.urls import path\n", "from django.urls import include, path\n"),
        ("from django.urls import re_path\n", "from django.urls import include, path, re_path\n"),
        ("from django.urls import include, path\n", "from django.urls import include, path\n"),
        (
            "from django.urls import (\n    path,\n    re_path,\n)\n",
            "from django.urls import (\n    include,\n    path,\n    re_path,\n)\n",
        ),
        (
            "from django.urls import (\n    include\n)\n",
            "from django.urls import (\n    include,\n    path\n)\n",
        ),
        ("from django.urls import *\n", "from django.urls import *\n"),
        (
            "from django.conf.urls import include\nfrom django.urls import path\n",
            "from django.conf.urls import include\nfrom django.urls import path\n",
        ),
        (
            "import os\nfrom django.contrib import admin\nfrom . import views\n",
            "import os\nfrom django.contrib import admin\n"
            "from django.urls import include, path\nfrom . import views\n",
        ),
        (
            "from django.urls import path as p\n",
            "from django.urls import include, path, path as p\n",
        ),
    ],
)
def test_names_join_the_import_that_is_there(before: str, after: str) -> None:
    """In its order and layout; what is imported already stays."""
    source = source_of(before)
    import_names(source, "django.urls", ["include", "path"])
    assert source.text == after


@pytest.mark.parametrize("text", ["def path(): ...\n", "from os import path\n", "path = 1\n"])
def test_name_that_means_something_else_is_refused(text: str) -> None:
    """An import would take it away from the code below."""
    with pytest.raises(NotUnderstood, match="something else by path"):
        import_names(source_of(text), "django.urls", ["path"])

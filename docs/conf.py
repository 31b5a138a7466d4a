"""
How Sphinx builds these pages: ``make docs``, without the network.

Every page is Markdown that reads as well in the repository, so links lead to files.
"""

import sys
from pathlib import Path

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# What the modules of the library need to be imported: their docstrings are the reference.
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "broadcasting"],
    SECRET_KEY="for the documentation",  # noqa: S106 (it signs nothing)
)
django.setup()

import broadcasting  # noqa: E402 (needs the settings)

project = "whik"
copyright = "whik contributors"
version = release = broadcasting.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images", "static"]
nitpicky = False  # Docstrings name parameters in the same way as objects.

# `name` in a docstring is a link where there is such an object, and code where not.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

html_theme = "furo"
html_title = f"whik {release}"
html_logo = html_favicon = "../whik/static/whik/mark.svg"
html_static_path = ["static"]
html_css_files = ["docs.css"]
html_copy_source = False
html_show_sourcelink = False

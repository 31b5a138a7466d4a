"""The site for a WSGI server: everything but sockets."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.deploy.site.settings")
application = get_wsgi_application()

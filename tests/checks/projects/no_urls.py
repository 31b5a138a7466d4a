from .right import *  # noqa: F403

ROOT_URLCONF = "django.contrib.auth.urls"

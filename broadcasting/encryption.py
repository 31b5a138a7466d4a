"""
Encrypted channels: only those who may subscribe can read what is sent on them.

Each channel has a key of its own, derived from the application's master key. The
publisher seals with it, the auth endpoint hands it to whoever may join, and whatever
lies between, our server included, carries sealed text only (Pusher, "Encrypted
channels").
"""

import hashlib

from django.core.exceptions import ImproperlyConfigured

from .credentials import Application


def shared_secret(app: Application, channel: str) -> bytes:
    """
    Return the key of one channel: 32 bytes, the same for everybody who may read it.

    Give it, in standard base64, to none but those whom the project has let in.

    Raises:
        ImproperlyConfigured: The application has no master key.
    """
    if app.encryption_master_key is None:
        raise ImproperlyConfigured(
            f"{channel} is encrypted, and application {app.id!r} has no master key. Make one "
            f"with `openssl rand -base64 32` and put it into "
            f'BROADCASTING["APPS"][...]["ENCRYPTION_MASTER_KEY_BASE64"].'
        )
    return hashlib.sha256(channel.encode() + app.encryption_master_key).digest()

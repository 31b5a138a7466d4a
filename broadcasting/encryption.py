"""
Encrypted channels: only those who may subscribe can read what is sent on them.

Each channel has a key of its own, derived from the application's master key. The
publisher seals with it, the auth endpoint hands it to whoever may join, and whatever
lies between, our server included, carries sealed text only (Pusher, "Encrypted
channels").
"""

import base64
import hashlib
import json
import secrets
from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured

from .applications import Application

NONCE_SIZE = 24  # Bytes; so many that a random one never comes twice.


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


def seal(app: Application, channel: str, data: str) -> str:
    """
    Return `data` sealed for `channel`: JSON text that holds a nonce and a NaCl secretbox.

    It is about a third longer than `data`, and another text on each call.

    Raises:
        ImproperlyConfigured: The application has no master key, or PyNaCl is missing.
    """
    return _seal(shared_secret(app, channel), data, secrets.token_bytes(NONCE_SIZE))


def unseal(app: Application, channel: str, sealed: str) -> str | None:
    """
    Return what `seal` was given; `None` if this is not it, or the key or PyNaCl is missing.

    For who looks after the server: pages open events with the key of their channel.
    """
    if app.encryption_master_key is None or not can_seal():
        return None
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        fields = json.loads(sealed)
        nonce, ciphertext = (base64.b64decode(fields[name]) for name in ("nonce", "ciphertext"))
        return SecretBox(shared_secret(app, channel)).decrypt(ciphertext, nonce).decode()
    except (CryptoError, KeyError, TypeError, ValueError):
        return None


def can_seal() -> bool:
    """Tell whether PyNaCl is installed, without importing it."""
    return find_spec("nacl") is not None


def _seal(key: bytes, data: str, nonce: bytes) -> str:
    try:
        from nacl.secret import SecretBox
    except ImportError as exc:
        raise ImproperlyConfigured(
            'Events on encrypted channels need PyNaCl: pip install "whik[encrypted]".'
        ) from exc
    ciphertext = SecretBox(key).encrypt(data.encode(), nonce).ciphertext
    fields = {"nonce": _base64(nonce), "ciphertext": _base64(ciphertext)}
    return json.dumps(fields, separators=(",", ":"))


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")

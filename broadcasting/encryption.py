"""
Encrypted channels: only their subscribers can read the events (Pusher, "Encrypted channels").

Each channel has a key of its own, derived from the application's master key. The
publisher encrypts with it, and the auth endpoint gives it to clients that may join. What
lies between, including the socket server, carries encrypted text only.
"""

import base64
import hashlib
import json
import secrets
from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured

from .applications import Application

NONCE_SIZE = 24  # Bytes: enough for a random one never to repeat.


def shared_secret(app: Application, channel: str) -> bytes:
    """
    Return the key of one channel, 32 bytes.

    Give it, in standard base64, only to clients that may join the channel.

    Raises:
        ImproperlyConfigured: The application has no master key.
    """
    if app.encryption_master_key is None:
        raise ImproperlyConfigured(
            f"{channel} is encrypted, and application {app.id!r} has no master key. Generate "
            f"one with `openssl rand -base64 32` and set "
            f'BROADCASTING["APPS"][...]["ENCRYPTION_MASTER_KEY_BASE64"] to it.'
        )
    return hashlib.sha256(channel.encode() + app.encryption_master_key).digest()


def seal(app: Application, channel: str, data: str) -> str:
    """
    Return `data` encrypted for `channel`: JSON with a nonce and a NaCl secretbox.

    It is about a third longer than `data`, and different on each call.

    Raises:
        ImproperlyConfigured: The application has no master key, or PyNaCl is missing.
    """
    key = shared_secret(app, channel)
    try:
        from nacl.secret import SecretBox
    except ImportError as exc:
        raise ImproperlyConfigured(
            'Events on encrypted channels need PyNaCl: pip install "whik[encrypted]".'
        ) from exc
    nonce = secrets.token_bytes(NONCE_SIZE)
    ciphertext = SecretBox(key).encrypt(data.encode(), nonce).ciphertext
    fields = {"nonce": _base64(nonce), "ciphertext": _base64(ciphertext)}
    return json.dumps(fields, separators=(",", ":"))


def unseal(app: Application, channel: str, sealed: str) -> str | None:
    """
    Return the data that `seal` encrypted, `None` if that is not possible.

    It is for operators. Pages decrypt events with the key of their channel.
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
    """Whether PyNaCl is installed."""
    return find_spec("nacl") is not None


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")

"""What models declare that browsers may see."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

from django.apps import apps
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.db.models import ForeignObjectRel, Model

from ..events.payload import declaration_of
from ..model_events.mixin import BroadcastsModelEvents
from .problem import problem

# Words in names of fields that are for one person, or for nobody.
SENSITIVE = {
    *("password", "passwd", "passphrase", "pwd", "passcode", "pin", "otp", "totp"),
    *("secret", "secrets", "token", "tokens", "credential", "credentials", "apikey", "jwt"),
    *("ssn", "cvv", "cvc", "iban", "salt"),
}
# Pairs of such words.
SENSITIVE_PAIRS = {
    *("api_key", "access_key", "auth_key", "private_key", "secret_key", "session_key"),
    *("encryption_key", "signing_key", "master_key", "recovery_code", "recovery_codes"),
    *("backup_code", "backup_codes", "security_code", "verification_code", "reset_code"),
    *("credit_card", "card_number", "account_number", "bank_account", "social_security"),
    *("passport_number", "tax_id"),
}


def check_model_events() -> Iterator[CheckMessage]:
    """Report models that are to broadcast what happens to them, and cannot."""
    for model in apps.get_models():
        if not issubclass(model, BroadcastsModelEvents):
            continue
        bases = model.__mro__
        if bases.index(BroadcastsModelEvents) > bases.index(Model):
            yield problem(
                "broadcasting.E006",
                "BroadcastsModelEvents stands behind the model's base class, which hides a part "
                "of it.",
                f"Write class {model.__name__}(BroadcastsModelEvents, models.Model).",
                model,
            )
        with suppress(ImproperlyConfigured):  # `check_declared_fields` reports it.
            if declaration_of(model) is None:
                yield problem(
                    "broadcasting.E006",
                    "The model broadcasts its events and does not declare which fields may be "
                    "sent: it cannot be saved.",
                    'Write broadcast_fields = ("pk", …) in it.',
                    model,
                )


def check_declared_fields() -> Iterator[CheckMessage]:
    """Report declarations of the wrong type, and fields whose names sound like secrets."""
    seen = set()
    for model in apps.get_models():
        try:
            declared = declaration_of(model)
        except ImproperlyConfigured as exc:
            hint = 'broadcast_fields = ("pk", "name").'
            yield problem("broadcasting.E005", str(exc), hint, model)
            continue
        if declared is None or declared.owner in seen:
            continue  # A subclass without a declaration of its own.
        seen.add(declared.owner)
        for name in declared.names:
            if name not in declared.harmless and sounds_sensitive(name):
                yield problem(
                    "broadcasting.W010",
                    f"The declared field {name!r} sounds like something that no browser may see.",
                    "Take it out of the broadcast fields, or name it among the harmless ones.",
                    model,
                )


def check_declared_names() -> Iterator[CheckMessage]:
    """Report declared names that no event with such a row could send."""
    for model in apps.get_models():
        for text, hint in _what_cannot_be_sent(model):
            yield problem("broadcasting.W017", text, hint, model)


def _what_cannot_be_sent(model: type[Model]) -> Iterator[tuple[str, str]]:
    with suppress(ImproperlyConfigured):  # `check_declared_fields` reports it.
        declared = declaration_of(model)
        if declared is None or _sends_data_of_its_own(model):
            return
        for name in declared.names:
            if not hasattr(model, name):
                yield (
                    f"The declared field {name!r} is neither a field nor a property or relation.",
                    "Correct the name in its broadcast fields.",
                )
            elif (far := _far_side(model, name)) is not None and declaration_of(far) is None:
                yield (
                    f"The declared relation {name!r} leads to {far._meta.label}, which does not "
                    f"declare which fields may be sent.",
                    f'Write broadcast_fields = ("pk", …) in {far.__name__}, or '
                    f'register_broadcast_fields({far.__name__}, ["pk", …]) in AppConfig.ready().',
                )


def _sends_data_of_its_own(model: type[Model]) -> bool:
    """Whether the declaration only names the fields whose changes are broadcast."""
    if not issubclass(model, BroadcastsModelEvents):
        return False
    return model.broadcast_with is not BroadcastsModelEvents.broadcast_with


def _far_side(model: type[Model], name: str) -> type[Model] | None:
    """Return the model that a relation leads to, by the attribute that rows have for it."""
    for field in model._meta.get_fields():
        if name == (
            field.get_accessor_name() if isinstance(field, ForeignObjectRel) else field.name
        ):
            # Generic foreign keys lead anywhere, and columns nowhere.
            return field.related_model if isinstance(field.related_model, type) else None
    return None


def sounds_sensitive(name: str) -> bool:
    """Whether a word of a field's `name`, or two beside each other, sound like a secret."""
    # apiKey, APIKey and api_key are the same two words.
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    words = [word for word in spaced.lower().split("_") if word]
    pairs = {f"{first}_{second}" for first, second in pairwise(words)}
    return bool(SENSITIVE.intersection(words) or SENSITIVE_PAIRS & pairs)

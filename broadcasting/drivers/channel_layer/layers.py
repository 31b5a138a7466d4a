"""The channel layers that the settings name."""

from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer
from django.core.exceptions import ImproperlyConfigured


def find_layer(alias: str) -> BaseChannelLayer:
    """Return a channel layer. Raise `ImproperlyConfigured` if it is not there or not made."""
    try:
        layer = get_channel_layer(alias)
    except (TypeError, ValueError) as exc:  # Of its class, its CONFIG, or Channels itself.
        raise ImproperlyConfigured(
            f"Channel layer {alias!r} cannot be made: {exc}. Correct CHANNEL_LAYERS[{alias!r}], "
            f"or install the package that it needs."
        ) from exc
    if layer is None:
        raise ImproperlyConfigured(
            f"There is no channel layer {alias!r}. Add it to CHANNEL_LAYERS, or set "
            f'BROADCASTING["DEFAULT"] to a connection that needs none, such as "memory".'
        )
    return layer


def is_shared(layer: BaseChannelLayer) -> bool:
    """Return whether `layer` reaches other processes."""
    return not isinstance(layer, InMemoryChannelLayer)

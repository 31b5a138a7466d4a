"""Who may hear of what: the rules that the documentation shows."""

from django.contrib.auth.models import User

from broadcasting import channel_authorizer
from tests.e2e.orders.models import Order


@channel_authorizer("orders.Order.{order}")
def order(user: User, order: Order) -> bool:
    """Only who ordered it."""
    return bool(order.customer == user)


@channel_authorizer("auth.User.{pk}")
def own(user: User, pk: str) -> bool:
    """Only the user."""
    return str(user.pk) == pk

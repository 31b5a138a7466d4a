from broadcasting import channel_authorizer  # noqa: F401


def article(user: object, article: str) -> bool:
    return True

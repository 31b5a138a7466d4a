from broadcasting import channel_authorizer


@channel_authorizer("stock.{article}")
def article(user: object, article: str) -> bool:
    return True


@channel_authorizer("stock.{shelf:int}")
def shelf(user: object, shelf: int) -> bool:
    return True

"""
Who is on a socket: a member of a presence channel, or the user who signed in.

Both come as JSON that the application has signed. Verify the signature before you
parse it. What is parsed is still checked, since a wrong type must not reach other
clients.
"""

from dataclasses import dataclass

from .errors import Unauthorized, UserInfoTooLarge
from .messages import decode, encode
from .names import is_user_id, is_utf8

MAX_MEMBER_ID_LENGTH = 128
MAX_WATCHLIST = 100


@dataclass(frozen=True, slots=True)
class Member:
    """
    One user in a presence channel, on any number of sockets.

    Attributes:
        user_id: A number in `channel_data` is the text of that number.
        info: What others are told of the user, as JSON text; ``null`` for nothing.
    """

    user_id: str
    info: str = "null"


@dataclass(frozen=True, slots=True)
class User:
    """
    The user that a socket signed in as.

    Attributes:
        id: As publishers address the user.
        info: As of a `Member`.
        watchlist: The users whose coming and going this one is told, at most 100.
        is_cut: Whether the application named more than that.
    """

    id: str
    info: str = "null"
    watchlist: tuple[str, ...] = ()
    is_cut: bool = False


def parse_member(channel_data: str, max_info_size: int) -> Member:
    """
    Return the member that signed `channel_data` describes.

    Raises:
        Unauthorized: It is not an object with a usable `user_id`.
        UserInfoTooLarge: Its `user_info` takes more than `max_info_size` bytes.
    """
    value = _object_in(channel_data, "channel_data")
    return Member(_member_id(value.get("user_id")), _info_in(value, max_info_size))


def parse_user(user_data: str, max_info_size: int) -> User:
    """
    Return the user that signed `user_data` describes. Raises as `parse_member` does.

    Watched ids that cannot be a user's are left out: such a user never comes online.
    """
    value = _object_in(user_data, "user_data")
    user_id = value.get("id")
    if not is_user_id(user_id):
        raise Unauthorized("user_data must have an id of letters, digits and _-=@,.;")
    watched = value.get("watchlist", [])
    if not isinstance(watched, list):
        raise Unauthorized("The watchlist in user_data must be a list of ids")
    ids = tuple(dict.fromkeys(item for item in watched if is_user_id(item)))
    info = _info_in(value, max_info_size)
    return User(user_id, info, ids[:MAX_WATCHLIST], is_cut=len(watched) > MAX_WATCHLIST)


def _object_in(text: str, name: str) -> dict[str, object]:
    try:
        value = decode(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Unauthorized(f"{name} is not a JSON object")
    return value


def _member_id(value: object) -> str:
    # JSON object keys are text, so 10 and "10" could not be told apart in the list.
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _encoded(value)
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_MEMBER_ID_LENGTH:
        raise Unauthorized(
            f"channel_data must have a user_id of 1 to {MAX_MEMBER_ID_LENGTH} characters"
        )
    if not is_utf8(value):
        raise Unauthorized("The user_id in channel_data is not UTF-8")
    return value


def _encoded(value: object) -> str:
    try:
        return encode(value)
    except ValueError:  # 1e999 is read as infinity.
        raise Unauthorized("A number that JSON cannot express") from None


def _info_in(value: dict[str, object], max_size: int) -> str:
    info = _encoded(value.get("user_info"))
    if not is_utf8(info):
        raise Unauthorized("The user_info is not UTF-8")
    if len(info.encode()) > max_size:
        raise UserInfoTooLarge(f"user_info may have {max_size} bytes")
    return info

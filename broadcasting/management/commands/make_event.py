"""Write an event class."""

from importlib import import_module
from keyword import iskeyword
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Model
from django.utils.text import camel_case_to_spaces

from ...channel import Channel, EncryptedPrivateChannel, PresenceChannel, PrivateChannel
from ...events.payload import declaration_of
from ...exceptions import InvalidChannel
from ..app_module import AppModule, split_name, write

# Option -> class of the channel, Echo's method that joins it, docstring of the code.
KINDS: dict[str, tuple[type[Channel], str, str]] = {
    "private": (PrivateChannel, "private", "Only those whom channel_auth.py admits may listen."),
    "presence": (PresenceChannel, "join", "Those whom channel_auth.py admits see each other."),
    "encrypted": (
        EncryptedPrivateChannel,
        "encryptedPrivate",
        "Only those whom channel_auth.py admits can read the event.",
    ),
    "public": (Channel, "channel", "Everybody may listen."),
}

CODE = '''\
@dataclass
class {name}(ShouldBroadcast):
    """The fields are the data that browsers receive."""

    {field}: {type}

    def broadcast_on(self) -> {channel}:
        """{who}"""
        return {channel}({argument})
'''


class Command(BaseCommand):
    help = "Write an event class into events.py of an app."
    # It is run while the project is being written.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="App and class: shop.OrderShipped.")
        parser.add_argument("--app", metavar="LABEL", help="The app, if NAME has none.")
        kinds = parser.add_mutually_exclusive_group()
        for kind, (channel, _, _) in KINDS.items():
            default = " The default." if kind == "private" else ""
            kinds.add_argument(
                f"--{kind}",
                action="store_const",
                const=kind,
                dest="kind",
                default="private",
                help=f"Send it on a {channel.__name__}.{default}",
            )
        names = parser.add_mutually_exclusive_group()
        names.add_argument(
            "--channel",
            metavar="NAME",
            help="The channel's name without a prefix. Default: order-shipped for OrderShipped.",
        )
        names.add_argument(
            "--model",
            metavar="MODEL",
            help="The event carries an instance of this model, Order or shop.Order, and goes to "
            "the channel of that instance.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Show what would be written.")

    def handle(self, *args: Any, **options: Any) -> None:
        app, name = split_name(options["name"], options["app"])
        if app is None:
            raise CommandError(f"Name an app, as in shop.{name}.")
        kind = options["kind"]
        channel, method, who = KINDS[kind]
        model = _model(options["model"], app.label) if options["model"] else None
        imports = {
            "dataclasses": ["dataclass"],
            "broadcasting": sorted([channel.__name__, "ShouldBroadcast"]),
        }
        if model is None:
            field, field_type, fired = "id", "int", "id=7"
            pattern = options["channel"] or camel_case_to_spaces(name).replace(" ", "-")
            _check(channel, pattern)
            argument = heard = f'"{pattern}"'
        else:
            field = fired = _field_of(model)
            field_type, argument = model.__name__, f"self.{field}"
            label = model._meta.label
            pattern, heard = f"{label}.{{{field}}}", f"`{label}.${{id}}`"
            imports[_home(model)] = [model.__name__]
        code = CODE.format(
            name=name,
            field=field,
            type=field_type,
            channel=channel.__name__,
            who=who,
            argument=argument,
        )
        edit = AppModule(app, "events", f"The events of {app.label}.").add(name, code, imports)
        if not write(self, edit, name, dry_run=options["dry_run"]) or not options["verbosity"]:
            return
        lines = [
            f"Fire it:    event({name}({fired}))  # from broadcasting import event",
            f'Listen:     Echo.{method}({heard}).listen("{name}", (e) => …)',
        ]
        if kind != "public":
            lines.append(f'Authorize:  @channel_authorizer("{pattern}") in channel_auth.py')
        if model is not None and declaration_of(model) is None:
            lines.append(f"Declare:    broadcast_fields in {model.__name__}, which has none")
        self.stdout.write("\n".join(lines))


def _model(text: str, app_label: str) -> type[Model]:
    label, _, name = text.rpartition(".")
    try:
        return apps.get_model(label or app_label, name)
    except LookupError as exc:
        raise CommandError(f"{exc} Give --model as app label and class: shop.Order.") from exc


def _field_of(model: type[Model]) -> str:
    name = camel_case_to_spaces(model.__name__).replace(" ", "_")
    return f"{name}_" if iskeyword(name) else name  # Of a model such as Class.


def _home(model: type[Model]) -> str:
    """Return where a model is imported from: its app's models, or the module that it is in."""
    home = f"{model._meta.app_config.name}.models"
    return home if getattr(import_module(home), model.__name__, None) is model else model.__module__


def _check(channel: type[Channel], name: str) -> None:
    try:
        channel(name)
    except InvalidChannel as exc:
        raise CommandError(f"{exc} Give another one with --channel.") from exc

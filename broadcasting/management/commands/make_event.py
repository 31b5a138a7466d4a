"""Write an event class."""

from importlib import import_module
from keyword import iskeyword
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Model

from ...channel import Channel, EncryptedPrivateChannel, PresenceChannel, PrivateChannel
from ...exceptions import InvalidChannel
from ..app_module import AppModule, known_apps, split_name, words

# Option -> class of the channel, Echo's method that joins it, who may join.
KINDS: dict[str, tuple[type[Channel], str, str]] = {
    "private": (PrivateChannel, "private", "Those whom channel_auth.py lets in may listen."),
    "presence": (PresenceChannel, "join", "Those whom channel_auth.py lets in see each other."),
    "encrypted": (
        EncryptedPrivateChannel,
        "encryptedPrivate",
        "Those whom channel_auth.py lets in can read it, and nobody else.",
    ),
    "public": (Channel, "channel", "Everybody may listen."),
}

CODE = '''\
@dataclass
class {name}(ShouldBroadcast):
    """Something has happened. The fields below are what pages are told."""

    {field}: {type}

    def broadcast_on(self) -> {channel}:
        """{who}"""
        return {channel}({argument})
'''


class Command(BaseCommand):
    """Add a `ShouldBroadcast` to ``events.py`` of an app, which is made if need be."""

    help = "Write an event class into events.py of an app."
    # It is run while the project is being written.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the name, the app, the channel and the model."""
        parser.add_argument("name", help="App and class: shop.OrderShipped.")
        parser.add_argument("--app", metavar="LABEL", help="The app, if NAME does not say it.")
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
        """Write it, and say how it is fired and heard."""
        app, name = split_name(options["name"], options["app"])
        if app is None:
            raise CommandError(f"Say which app, as in shop.{name}; {known_apps()}")
        module = AppModule(app, "events", f"What happens in {app.label}.")
        module.refuse_known(name)
        kind = options["kind"]
        channel, method, who = KINDS[kind]
        model = _model(options["model"], app.label) if options["model"] else None
        imports = [
            ("dataclasses", "dataclass"),
            ("broadcasting", channel.__name__),
            ("broadcasting", "ShouldBroadcast"),
        ]
        if model is None:
            field, field_type = "id", "int"
            channel_name = options["channel"] or words(name, "-")
            _check(channel, channel_name)
            argument, pattern, heard = f'"{channel_name}"', channel_name, f'"{channel_name}"'
        else:
            field, field_type = words(model.__name__, "_"), model.__name__
            if iskeyword(field):  # Of a model such as Class.
                field += "_"
            argument, label = f"self.{field}", model._meta.label
            pattern, heard = f"{label}.{{{field}}}", f"`{label}.${{id}}`"
            imports.append((_home(model), model.__name__))
        if name in {field_type, *(imported for _, imported in imports)}:
            raise CommandError(f"{name} is what the class is made of; choose another name.")
        code = CODE.format(
            name=name,
            field=field,
            type=field_type,
            channel=channel.__name__,
            who=who,
            argument=argument,
        )
        module.add(code, imports)
        if options["dry_run"]:
            self.stdout.write("\n".join(module.source.diff(module.path)))
            return
        module.write()
        self.stdout.write(f"Wrote {name} into {module.path}.")
        if options["verbosity"] > 0:
            fired = field if model else f"{field}=7"
            self.stdout.write(
                f"Fire it:    event({name}({fired}))  # from broadcasting import event"
            )
            self.stdout.write(f'Hear it:    Echo.{method}({heard}).listen("{name}", (e) => …)')
            if kind != "public":
                self.stdout.write(
                    f'Let in:     @channel_authorizer("{pattern}") in channel_auth.py'
                )
            if model is not None and not hasattr(model, "broadcast_fields"):
                self.stdout.write(
                    f"Let out:    broadcast_fields of {model.__name__}, which has none"
                )


def _model(text: str, app_label: str) -> type[Model]:
    label, _, name = text.rpartition(".")
    try:
        return apps.get_model(label or app_label, name)
    except LookupError as exc:
        raise CommandError(f"{exc} Give --model as app label and class: shop.Order.") from exc


def _home(model: type[Model]) -> str:
    """Return where a model is imported from: its app's models, or the module that it is in."""
    home = f"{model._meta.app_config.name}.models"
    return home if getattr(import_module(home), model.__name__, None) is model else model.__module__


def _check(channel: type[Channel], name: str) -> None:
    try:
        channel(name)
    except InvalidChannel as exc:
        raise CommandError(f"{exc} Give another one with --channel.") from exc

"""Each file of ``deploy/`` in the eyes of the program that reads it, and of what it must fit."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from broadcasting.adapters.uvicorn.drain import REQUEST_GRACE
from broadcasting.adapters.uvicorn.server import LAST_GRACE, STOP_TIMEOUT
from broadcasting.api.events import max_batch_body
from broadcasting.applications import Application
from broadcasting.management.commands.broadcast_serve import Command
from tests.deploy.programs import (
    DEPLOY,
    ROOT,
    caddy_environment,
    caddy_file,
    find,
    haproxy_file,
    nginx_file,
)
from tests.utils import free_port

DEFAULTS = {field.name: field.default for field in fields(Application)}
# Silence, and a ping that nobody answers.
LONGEST_SILENCE = 2 * int(str(DEFAULTS["activity_timeout"]))
SETTINGS = (ROOT / "whik" / "settings.py").read_text()


def check(command: Sequence[str], env: dict[str, str] | None = None) -> None:
    """Run a program that judges a file; fail with what it says."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "sockets",
    [["unix:/run/a.sock"] * 2, ["127.0.0.1:8001", "127.0.0.1:8002"]],
    ids=["socket", "ports"],
)
def test_nginx_takes_its_file(tmp_path: Path, sockets: list[str]) -> None:
    """`nginx -t` finds no fault."""
    directory = tmp_path / "nginx"
    file = nginx_file(directory, free_port(), free_port(), sockets, sockets)
    check([find("nginx"), "-t", "-e", str(directory / "error.log"), "-c", str(file)])


def test_haproxy_takes_its_file(tmp_path: Path) -> None:
    """`haproxy -c` finds no fault, and nothing to warn of."""
    file = haproxy_file(tmp_path, free_port(), free_port(), [8001, 8002])
    check([find("haproxy"), "-c", "-dW", "-f", str(file)])


def test_caddy_takes_its_file(tmp_path: Path) -> None:
    """`caddy validate` finds no fault."""
    file = caddy_file(tmp_path)
    command = [find("caddy"), "validate", "--adapter", "caddyfile", "--config", str(file)]
    check(command, os.environ | caddy_environment(tmp_path, free_port(), [8001, 8002]))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("nginx.conf", r"location /app/ \{[^}]*proxy_read_timeout (\d+)s"),
        ("nginx.conf", r"location /app/ \{[^}]*proxy_send_timeout (\d+)s"),
        ("haproxy.cfg", r"timeout tunnel (\d+)s"),
    ],
)
def test_a_proxy_is_more_patient_than_the_server(name: str, pattern: str) -> None:
    """A socket on which nothing happens is given up by the server, not by the proxy."""
    (seconds,) = re.findall(pattern, (DEPLOY / name).read_text())
    assert int(seconds) > LONGEST_SILENCE


def test_a_proxy_lets_the_largest_request_pass() -> None:
    """The limit of a batch is the server's to tell."""
    largest = max_batch_body(Application(id="1", key="k", secret="s"))
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m", (DEPLOY / "nginx.conf").read_text())
    assert largest < int(megabytes) * 1024**2


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_a_proxy_lets_go_of_idle_connections_first(name: str) -> None:
    """Else it may send a request into a connection that the server is closing."""
    (seconds,) = set(re.findall(r"keepalive(?:_timeout)? (\d+)s", (DEPLOY / name).read_text()))
    for command in commands():
        assert int(seconds) < options(command)["keep_alive"]


# Commands


def commands() -> list[list[str]]:
    """Return each ``manage.py broadcast_serve`` of the files, as words."""
    (unit,) = re.findall(r"^ExecStart=(.+)$", (DEPLOY / "whik.service").read_text(), re.M)
    (image,) = re.findall(r"^CMD \[(.+)\]$", (DEPLOY / "Dockerfile").read_text(), re.M)
    quoted = re.findall(r'"([^"]+)"', image)
    found = [unit.split(), quoted, compose()["services"]["site"]["command"]]
    return [[str(word) for word in command] for command in found]


def options(command: list[str]) -> dict[str, Any]:
    """Return what `broadcast_serve` makes of a command. Fail where it knows an option not."""
    start = command.index("broadcast_serve")
    assert command[start - 1] == "manage.py"
    parser = Command().create_parser("manage.py", "broadcast_serve")
    return vars(parser.parse_args(command[start + 1 :]))


def longest_leave(command: list[str]) -> float:
    """Return the seconds that a server so started may take to leave."""
    given = options(command)
    graces = REQUEST_GRACE + STOP_TIMEOUT + LAST_GRACE
    return float(given["drain_delay"] + given["drain_seconds"] + graces)


def compose() -> Any:
    """Return what ``compose.yaml`` says."""
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


# systemd


class Unit(ConfigParser):
    """A unit of systemd. Each key of ours is given once."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=True, interpolation=None, delimiters="=", comment_prefixes="#")
        self.read_string((DEPLOY / name).read_text())

    def optionxform(self, optionstr: str) -> str:
        """Tell ``ExecStart`` from ``execstart``, as systemd does."""
        return optionstr


def test_the_service_drains_before_it_is_killed() -> None:
    """There is time for all that the server does, and it is started again whatever it says."""
    service = Unit("whik.service")["Service"]
    (command, *_) = commands()
    assert int(service["TimeoutStopSec"]) > longest_leave(command)
    assert (service["KillSignal"], service["KillMode"]) == ("SIGTERM", "mixed")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["Restart"] == "always"


def test_the_service_takes_the_socket_of_its_unit() -> None:
    """The one descriptor that systemd hands over, at the path where nginx looks."""
    socket, service = Unit("whik.socket")["Socket"], Unit("whik.service")
    (command, *_) = commands()
    assert options(command)["fd"] == 3
    assert service["Unit"]["Requires"] == "whik.socket"
    assert f"server unix:{socket['ListenStream']} " in (DEPLOY / "nginx.conf").read_text()
    assert f"unix/{socket['ListenStream']}" in (DEPLOY / "Caddyfile").read_text()
    # Whoever can connect is believed about addresses.
    assert options(command)["forwarded_allow_ips"] == "*"
    assert socket["SocketMode"] == "0660"
    assert service["Service"]["User"] == socket["SocketUser"]


def test_the_service_can_open_a_file_for_each_client() -> None:
    """The table of docs/capacity.md puts so many clients on one process."""
    service = Unit("whik.service")["Service"]
    assert int(service["LimitNOFILE"]) >= 2 * 12_000


# Docker


def test_containers_drain_before_they_are_killed() -> None:
    """Compose waits for as long as the server may take."""
    site = compose()["services"]["site"]
    (seconds,) = re.findall(r"^(\d+)s$", site["stop_grace_period"])
    assert int(seconds) > longest_leave(site["command"])


def test_containers_share_what_they_must() -> None:
    """Every name that a service uses is there, and only Caddy is reached from outside."""
    file = compose()
    services = file["services"]
    volumes = {
        volume.partition(":")[0]
        for service in services.values()
        for volume in service.get("volumes", ())
        if not volume.startswith(".")
    }
    assert volumes == set(file["volumes"])
    networks = {name for service in services.values() for name in service["networks"]}
    assert networks == set(file["networks"])
    assert [name for name, service in services.items() if "ports" in service] == ["caddy"]
    for service in services.values():
        for other, condition in service.get("depends_on", {}).items():
            is_once = condition["condition"] == "service_completed_successfully"
            assert is_once or "healthcheck" in services[other]
    site = services["site"]
    (subnet,) = file["networks"]["front"]["ipam"]["config"]
    assert site["environment"]["FORWARDED_ALLOW_IPS"] == subnet["subnet"]
    assert services["caddy"]["environment"]["WHIK_UPSTREAM"] == "site:8000"
    assert options(site["command"])["port"] == 8000


def test_containers_set_what_the_demo_reads() -> None:
    """An environment variable that nothing reads would be a spelling mistake."""
    for name in compose()["services"]["site"]["environment"]:
        assert name == "FORWARDED_ALLOW_IPS" or f'env("{name}"' in SETTINGS


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Dockerfile, each with its arguments in one line."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line:
            word, _, rest = line.partition(" ")
            yield word, rest


def test_the_image_holds_what_the_site_needs() -> None:
    """What is copied exists and is not ignored; what a checkout also has stays out."""
    copied = [
        rest.split()[0]
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
    ]
    assert all((ROOT / name).exists() for name in copied)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied)
    assert {"broadcasting", "whik", "templates", "locale", "manage.py"} <= set(copied)


def test_the_image_does_not_run_as_root() -> None:
    """By number, so that Kubernetes can see it; and no key of the image's making is left."""
    found = list(instructions())
    users = [rest for word, rest in found if word == "USER"]
    assert users == ["10001"]
    assert "--uid 10001" in next(rest for word, rest in found if "useradd" in rest)
    assert not any("SECRET_KEY" in rest for word, rest in found if word in {"ENV", "ARG"})


# Documents


def pod() -> Any:
    """Return the pod that docs/deployment.md shows."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    (manifest,) = re.findall(r"```yaml\n(apiVersion: apps/v1\n.*?)```", page, re.S)
    return yaml.safe_load(manifest)["spec"]["template"]["spec"]


def test_pods_drain_before_they_are_killed() -> None:
    """Kubernetes waits for as long as the server may take, which has options that exist."""
    (container,) = pod()["containers"]
    assert pod()["terminationGracePeriodSeconds"] > longest_leave(container["args"])


def test_pods_are_taken_out_before_they_stop_listening() -> None:
    """Readiness fails within the delay; liveness asks for what needs no Redis."""
    (container,) = pod()["containers"]
    ready, alive = container["readinessProbe"], container["livenessProbe"]
    seconds = ready["periodSeconds"] * ready["failureThreshold"]
    assert seconds < options(container["args"])["drain_delay"]
    assert (ready["httpGet"]["path"], alive["httpGet"]["path"]) == ("/ready", "/live")


@pytest.mark.parametrize("name", ["deployment.md", "capacity.md"])
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    """To a file, and in a page of ours to a heading."""
    page = ROOT / "docs" / name
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
            slugs = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in slugs, f"{target}#{anchor}"

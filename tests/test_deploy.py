"""deploy/: every name in its files exists here, and systemd-analyze finds no fault. The tests do
not run Docker."""

import ipaddress
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from postroom.settings import PORTS, SYSTEM_DATA, Settings, load
from postroom.supervision.supervisor import Part
from tests.harness.service import COMMAND

DEPLOY = Path(__file__).parent.parent / "deploy"
CHECKOUT = DEPLOY.parent
COMPOSE = ["compose.yaml", "compose.postgresql.yaml"]
API_PORT = 3000


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def of_the_image() -> dict[str, str]:
    pairs = [rest.split("=", 1) for kind, rest in dockerfile() if kind == "ENV"]
    return {name: value for name, value in pairs if name.startswith("POSTROOM_")}


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "docker" / name).read_text(encoding="utf-8"))
    return found


def environment(name: str) -> dict[str, str]:
    """The environment of Postroom, with the values that the reader puts into .env."""
    given: dict[str, str] = compose(name)["services"]["postroom"]["environment"]
    assert all(isinstance(value, str) for value in given.values()), "YAML reads on and off as booleans: quote them"
    return {key: re.sub(r"\$\{\w+:\?[^}]*\}", "secret", value) for key, value in given.items()}


def settings(name: str, folder: Path) -> Settings:
    return load(of_the_image() | environment(name), folder)


@pytest.mark.parametrize("name", COMPOSE)
def test_the_settings_are_ours(name: str, tmp_path: Path) -> None:
    """Every name and value is accepted; an unknown name would be an error."""
    found = settings(name, tmp_path)
    assert found.hostname == "mail.example.com"
    assert found.database.startswith("postgresql://" if "postgresql" in name else "sqlite:///")


def test_two_nodes_differ_in_name_and_address_alone(tmp_path: Path) -> None:
    found = []
    for name in ("ams", "ber"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(DEPLOY / "nodes" / f"{name}.toml", folder / "postroom.toml")
        found.append(load({}, folder))
    assert [settings.node for settings in found] == ["ams", "ber"]
    assert replace(found[0], node="", host="") == replace(found[1], node="", host="")


def test_machines_are_trusted_one_by_one(tmp_path: Path) -> None:
    """No network is trusted, because any machine that gets an address in the network would be
    trusted."""
    for name in ("ams", "ber"):
        shutil.copy(DEPLOY / "nodes" / f"{name}.toml", tmp_path / "postroom.toml")
        trusted = load({}, tmp_path).trusted_proxies.replace(",", " ").split()
        assert [ipaddress.ip_network(network).num_addresses for network in trusted] == [1]
    text = (CHECKOUT / "docs" / "several-machines.md").read_text(encoding="utf-8")
    (rule,) = re.findall(r"ip saddr (.+?) tcp dport \{ 1700-1703 \}", text)
    assert [str(ipaddress.ip_address(address)) for address in rule.strip("{ }").split(", ")] == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize("name", COMPOSE)
def test_what_is_published_is_listened_on(name: str, tmp_path: Path) -> None:
    found = settings(name, tmp_path)
    inside = {int(port.rpartition(":")[2]) for port in compose(name)["services"]["postroom"]["ports"]}
    mail = {getattr(found, port) for port in PORTS if port != "port"}
    assert inside - {API_PORT} == mail
    (exposed,) = [rest for kind, rest in dockerfile() if kind == "EXPOSE"]
    assert {API_PORT, *mail} == {*map(int, exposed.split())}


@pytest.mark.parametrize("name", COMPOSE)
def test_the_data_is_in_a_volume_and_stops_are_waited_for(name: str, tmp_path: Path) -> None:
    service = compose(name)["services"]["postroom"]
    targets = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    assert targets[str(settings(name, tmp_path).data.parent)] in compose(name)["volumes"]
    assert int(service["stop_grace_period"].rstrip("s")) > Part("", [], {}).grace
    assert service["init"] is True


@pytest.mark.parametrize("name", COMPOSE)
def test_files_that_are_named_exist(name: str) -> None:
    folder = DEPLOY / "docker"
    build = compose(name)["services"]["postroom"]["build"]
    assert (folder / build["context"]).resolve() == CHECKOUT
    assert (CHECKOUT / build["dockerfile"]).is_file()
    for service in compose(name)["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in (*compose(name)["volumes"], "./tls") or (folder / source).is_file()


def test_the_proxy_is_the_one_that_is_trusted(tmp_path: Path) -> None:
    described = compose("compose.yaml")
    proxy = described["services"]["caddy"]
    assert settings("compose.yaml", tmp_path).trusted_proxies == f"{proxy['networks']['front']['ipv4_address']}/32"
    assert proxy["environment"]["API_UPSTREAM"] == f"postroom:{API_PORT}"
    used = set(re.findall(r"\{\$(\w+):", (DEPLOY / "proxy" / "Caddyfile").read_text(encoding="utf-8")))
    assert used == set(proxy["environment"])


def test_the_proxy_on_the_machine_itself_is_trusted(tmp_path: Path) -> None:
    """Docker connects from the network's gateway for a proxy on the machine."""
    name = "compose.postgresql.yaml"
    (network,) = compose(name)["networks"]["front"]["ipam"]["config"]
    assert settings(name, tmp_path).trusted_proxies == f"{network['gateway']}/32"
    assert ipaddress.ip_address(network["gateway"]) in ipaddress.ip_network(network["subnet"])
    assert "front" in compose(name)["services"]["postroom"]["networks"]
    (api,) = [port for port in compose(name)["services"]["postroom"]["ports"] if port.endswith(f":{API_PORT}")]
    assert api.startswith("127.0.0.1:"), "a program that reaches this port is believed about a client's address"


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_asks_what_the_image_asks(name: str) -> None:
    """An image in the OCI format has no HEALTHCHECK of its own."""
    (of_image,) = [rest for kind, rest in dockerfile() if kind == "HEALTHCHECK"]
    asked = compose(name)["services"]["postroom"]["healthcheck"]
    assert json.dumps(asked["test"][1:]) == of_image.partition("CMD ")[2]
    assert f"--start-period={asked['start_period']}" in of_image


def test_the_image_has_all_that_it_copies() -> None:
    taken = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for kind, rest in dockerfile():
        for source in rest.split()[:-1] if kind == "COPY" else ():
            assert (CHECKOUT / source).exists()
            assert f"!{source}" in taken
    copied = {rest.split()[0] for kind, rest in dockerfile() if kind == "COPY"}
    for link in (path for path in (CHECKOUT / "postroom").rglob("*") if path.is_symlink()):
        assert link.resolve().relative_to(CHECKOUT).parts[0] in copied, link
    lock = next(rest for kind, rest in dockerfile() if kind == "RUN" and "install_venv" in rest)
    assert "install_venv requirements.lock" in lock


@pytest.mark.parametrize("program", ["docker/check", "docker/try", "systemd/check"])
def test_the_program_is_shell(program: str) -> None:
    path = DEPLOY / program
    assert os.access(path, os.X_OK)
    subprocess.run(["shellcheck", path], check=True)


def test_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify`, with the path of this checkout."""
    analyze = shutil.which("systemd-analyze")
    assert analyze, "systemd-analyze is missing: apt-get install systemd"
    unit = (DEPLOY / "systemd" / "postroom.service").read_text(encoding="utf-8")
    ours = tmp_path / "postroom.service"
    ours.write_text(unit.replace("/opt/postroom/.venv/bin/postroom", f'"{COMMAND}"'), encoding="utf-8")
    done = subprocess.run([analyze, "verify", "--man=no", ours], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if str(ours) in line or ours.name in line]
    assert (done.returncode, said) == (0, [])
    directory = re.search(r"^StateDirectory=(.+)$", unit, re.M)
    assert directory
    assert Path("/var/lib", directory[1], "data") == SYSTEM_DATA

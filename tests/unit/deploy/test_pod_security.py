"""Every container of every overlay: least rights, bounded, probed, with somewhere to write."""

from pathlib import PurePosixPath

import pytest

from tests.support.manifests import OVERLAYS, Container, Pod, base_with, overlay

BUILDS = [overlay(name) for name in OVERLAYS] + [base_with()]
PODS = [pytest.param(pod, id=f"{pod}") for build in BUILDS for pod in build.pods]
CONTAINERS = [
    pytest.param(container, id=f"{container}") for build in BUILDS for container in build.containers
]

QUANTITIES = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(text: str | int) -> float:
    for suffix, factor in QUANTITIES.items():
        if str(text).endswith(suffix):
            return float(str(text).removesuffix(suffix)) * factor
    return float(text)


def test_namespaces_take_restricted_pods_only():
    for build in BUILDS:
        (namespace,) = build.of("Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("pod", PODS)
def test_pods_are_restricted(pod: Pod):
    """The Pod Security Standard `restricted`, and no token of the cluster."""
    spec, security = pod.spec, pod.spec["securityContext"]
    assert spec["automountServiceAccountToken"] is False
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for forbidden in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"):
        assert forbidden not in spec
    allowed = {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim", "spec"}
    for volume in pod.volumes.values():
        kinds = set(volume) - {"name", "metadata", "apiVersion", "kind"}
        assert kinds <= allowed, volume
        if "emptyDir" in volume:
            assert quantity(volume["emptyDir"]["sizeLimit"]) > 0
        if "secret" in volume or "projected" in volume:
            # Octal 0440: the group of the pod reads, nobody else.
            mode = volume.get("secret", volume.get("projected"))["defaultMode"]
            assert mode == 0o440


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_have_no_rights(container: Container):
    security = container.spec["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in security
    assert "runAsUser" not in security
    for port in container.spec.get("ports", ()):
        assert "hostPort" not in port


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_are_bounded(container: Container):
    requests, limits = (container.spec["resources"][kind] for kind in ("requests", "limits"))
    for resource in ("cpu", "memory", "ephemeral-storage"):
        assert 0 < quantity(requests[resource]) <= quantity(limits[resource]), resource
    # What a pod writes to its volumes counts.
    written = sum(
        quantity(volume["emptyDir"]["sizeLimit"])
        for volume in container.pod.volumes.values()
        if "emptyDir" in volume and volume["emptyDir"].get("medium") != "Memory"
    )
    assert written <= quantity(limits["ephemeral-storage"])


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_are_probed(container: Container):
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    if not container.pod.runs_on:
        assert not any(probe in container.spec for probe in probes)
        return
    for probe in probes:
        assert container.spec[probe]["timeoutSeconds"] > 1
    if container.ours:
        health = container.ports["health"]
        assert all(container.spec[probe]["grpc"]["port"] == health for probe in probes)
        assert container.spec["livenessProbe"]["grpc"]["service"] == "liveness"
        # One that a probe restarts has the pod's grace for the work in hand.
        assert not any("terminationGracePeriodSeconds" in container.spec[probe] for probe in probes)


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_is_written_lies_on_a_volume(container: Container):
    environment = container.environment
    writable = [
        PurePosixPath(path) for path, mount in container.mounts.items() if not mount.get("readOnly")
    ]
    for name in ("HOME", "XDG_CACHE_HOME", "GATOR_GATEWAY_STATE_DIR", "GATOR_GATEWAY_SPOOL_DIR"):
        if name in environment:
            path = PurePosixPath(environment[name])
            assert any(path.is_relative_to(folder) for folder in writable), name
    if container.ours:
        assert PurePosixPath("/tmp") in writable


def test_a_pod_of_frame_gen_has_one_gpu():
    for build in (overlay("production"), base_with("gpu")):
        (container,) = build.pod("frame-gen").containers
        for kind in ("requests", "limits"):
            assert container.spec["resources"][kind]["nvidia.com/gpu"] == 1
        assert container.mounts["/models"]["readOnly"] is True
        claim = container.pod.volumes["models"]["persistentVolumeClaim"]
        (filling,) = build.pod("pre-pull-models").containers
        assert not filling.mounts["/models"].get("readOnly")
        assert (
            filling.pod.volumes["models"]["persistentVolumeClaim"]["claimName"]
            == (claim["claimName"])
        )
        # Both look for the same models in the same place; only the job asks the network.
        for name in ("GATOR_FRAME_GEN_DIFFUSERS_MODELS", "HF_HOME"):
            assert container.environment[name] == filling.environment[name]
        assert container.environment["HF_HUB_OFFLINE"] == "1"
        assert "HF_HUB_OFFLINE" not in filling.environment

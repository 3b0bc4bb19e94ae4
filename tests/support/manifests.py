"""The Kubernetes manifests of deploy/k8s as kubectl builds them, and what can be asked of them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tenacity
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
K8S = DEPLOY / "k8s"
OVERLAYS = tuple(sorted(path.name for path in (K8S / "overlays").iterdir()))
COMPONENTS = tuple(sorted(path.name for path in (K8S / "components").iterdir()))

Resource = Mapping[str, Any]

_KUBECTL = Path(sys.executable).parent / "kubectl"
_PATIENCE = 100
"""Seconds for what takes one."""
_WITH_PODS = ("Deployment", "StatefulSet", "Job", "DaemonSet", "CronJob", "Pod")
_NAME = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Container:
    """A container of a pod, with all that its environment comes to."""

    pod: Pod
    spec: Resource

    @property
    def name(self) -> str:
        return self.spec["name"]

    @property
    def ours(self) -> bool:
        """Whether it runs one of the services."""
        return "/gator/" in f"/{self.spec['image']}"

    @property
    def environment(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in self.spec.get("envFrom", ()):
            found |= self.pod.manifests.named("ConfigMap", source["configMapRef"]["name"])["data"]
        return found | {each["name"]: each["value"] for each in self.spec.get("env", ())}

    @property
    def mounts(self) -> dict[str, Resource]:
        """What is mounted, by its path."""
        return {mount["mountPath"]: mount for mount in self.spec.get("volumeMounts", ())}

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", ())}

    def __str__(self) -> str:
        return f"{self.pod}/{self.name}"


@dataclass(frozen=True)
class Pod:
    """What a Deployment, StatefulSet or Job makes pods of."""

    manifests: Manifests
    owner: Resource

    @property
    def template(self) -> Resource:
        return self.owner["spec"]["template"]

    @property
    def spec(self) -> Resource:
        return self.template["spec"]

    @property
    def labels(self) -> Mapping[str, str]:
        return self.template["metadata"]["labels"]

    @property
    def name(self) -> str:
        return self.labels[_NAME]

    @property
    def runs_on(self) -> bool:
        """Whether it is there for as long as it is deployed; a job ends."""
        return self.owner["kind"] in ("Deployment", "StatefulSet", "DaemonSet")

    @property
    def containers(self) -> list[Container]:
        specs = (*self.spec.get("initContainers", ()), *self.spec["containers"])
        return [Container(self, spec) for spec in specs]

    @property
    def volumes(self) -> dict[str, Resource]:
        claims = self.owner["spec"].get("volumeClaimTemplates", ())
        return {volume["name"]: volume for volume in self.spec.get("volumes", ())} | {
            claim["metadata"]["name"]: claim for claim in claims
        }

    def __str__(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"


@dataclass(frozen=True)
class Manifests:
    """All resources of a build."""

    resources: Sequence[Resource]

    def __hash__(self) -> int:
        return id(self)

    def of(self, *kinds: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["kind"] in kinds]

    def named(self, kind: str, name: str) -> Resource:
        for resource in self.of(kind):
            if resource["metadata"]["name"] == name:
                return resource
        raise AssertionError(f"there is no {kind} {name}")

    @property
    def pods(self) -> list[Pod]:
        return [Pod(self, resource) for resource in self.of(*_WITH_PODS)]

    @property
    def containers(self) -> Iterator[Container]:
        return (container for pod in self.pods for container in pod.containers)

    def pod(self, name: str) -> Pod:
        (found,) = [pod for pod in self.pods if pod.name == name]
        return found


@functools.cache
def overlay(name: str) -> Manifests:
    """deploy/k8s/overlays/NAME."""
    return _built(K8S / "overlays" / name)


@functools.cache
def base_with(*components: str) -> Manifests:
    """The base with some components."""
    with tempfile.TemporaryDirectory() as folder:
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "gator",
            "resources": [os.path.relpath(K8S / "base", folder)],
            "components": [
                os.path.relpath(K8S / "components" / component, folder) for component in components
            ],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return _built(Path(folder))


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all."""
    selector = selector or {}
    wanted = selector.get("matchLabels", {}).items()
    expressions: Iterable[Mapping[str, Any]] = selector.get("matchExpressions", ())
    return wanted <= labels.items() and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in expressions
    )


@tenacity.retry(
    # It was seen to hang on a busy machine, for no reason that could be found.
    retry=tenacity.retry_if_exception_type(subprocess.TimeoutExpired),
    stop=tenacity.stop_after_attempt(3),
    reraise=True,
)
def _kustomized(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_KUBECTL, "kustomize", folder],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )


def _built(folder: Path) -> Manifests:
    built = _kustomized(folder)
    assert built.returncode == 0, built.stderr
    # Warnings, such as of a field that is deprecated.
    assert not built.stderr, built.stderr
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Manifests(list(yaml.load_all(built.stdout, loader)))

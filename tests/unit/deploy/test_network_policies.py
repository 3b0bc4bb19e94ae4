"""Who may speak to whom in production: the rendered policies, evaluated as a cluster would."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.manifests import Manifests, Pod, base_with, overlay, selects

Peer = Mapping[str, Any]
Flow = tuple[str, str, int]

NAMESPACE = "kubernetes.io/metadata.name"

CALLS: set[Flow] = {
    ("envoy-edge", "gateway", 50051),
    ("gateway", "envoy-internal", 50050),
    ("envoy-internal", "frame-gen", 50052),
    ("envoy-internal", "compositor", 50053),
    ("gateway", "otel-collector", 4317),
    ("frame-gen", "otel-collector", 4317),
    ("compositor", "otel-collector", 4317),
}
"""All that may happen inside the namespace."""


def policies(manifests: Manifests, pod: Pod, direction: str) -> list[Mapping[str, Any]]:
    return [
        policy["spec"]
        for policy in manifests.of("NetworkPolicy")
        if direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]


def rules(
    manifests: Manifests, pod: Pod, direction: str
) -> Iterator[tuple[list[Peer] | None, int]]:
    """Peers (None: anybody) and ports that a pod may speak to, or be spoken to by."""
    key, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    for policy in policies(manifests, pod, direction):
        for rule in policy.get(key, ()):
            for port in rule["ports"]:
                yield rule.get(peers), port["port"]


def takes(peers: list[Peer] | None, pod: Pod) -> bool:
    """Whether a pod of the same namespace is among the peers."""
    return peers is None or any(
        "podSelector" in peer
        and "namespaceSelector" not in peer
        and selects(peer["podSelector"], pod.labels)
        for peer in peers
    )


def flows(manifests: Manifests) -> set[Flow]:
    """Pairs of pods, and ports, where both sides allow the call."""
    found = set()
    for caller, called in itertools.permutations(manifests.pods, 2):
        for container in called.containers:
            for port in container.ports.values():
                leaves = any(
                    takes(peers, called) and allowed == port
                    for peers, allowed in rules(manifests, caller, "Egress")
                )
                enters = any(
                    takes(peers, caller) and allowed == port
                    for peers, allowed in rules(manifests, called, "Ingress")
                )
                if leaves and enters:
                    found.add((caller.name, called.name, port))
    return found


def outward(manifests: Manifests) -> set[tuple[str, int]]:
    """Pods, and ports of addresses outside the cluster that they may call."""
    return {
        (pod.name, port)
        for pod in manifests.pods
        for peers, port in rules(manifests, pod, "Egress")
        if peers is None or any("ipBlock" in peer for peer in peers)
    }


def namespaces(manifests: Manifests, direction: str) -> set[tuple[str, str, int]]:
    """Pods, other namespaces and ports."""
    return {
        (pod.name, peer["namespaceSelector"]["matchLabels"][NAMESPACE], port)
        for pod in manifests.pods
        for peers, port in rules(manifests, pod, direction)
        for peer in peers or ()
        if "namespaceSelector" in peer
    }


def test_every_pod_is_denied_everything_first():
    manifests = overlay("production")
    for pod in manifests.pods:
        for direction in ("Ingress", "Egress"):
            assert policies(manifests, pod, direction), f"{pod} {direction}"
    denial = manifests.named("NetworkPolicy", "deny-all")["spec"]
    assert denial == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_inside_the_namespace_only_the_calls_of_a_render_are_allowed():
    assert flows(overlay("production")) == CALLS


def test_only_the_edge_is_reached_by_anybody():
    manifests = overlay("production")
    open_to_all = {
        (pod.name, port)
        for pod in manifests.pods
        for peers, port in rules(manifests, pod, "Ingress")
        if peers is None
    }
    assert open_to_all == {("envoy-edge", 8443), ("envoy-edge", 8080)}
    # Nothing listens on the second, with TLS.
    (edge,) = manifests.pod("envoy-edge").containers
    assert edge.ports == {"https": 8443, "observed": 9902}


def test_only_stores_and_models_are_outside():
    assert outward(overlay("production")) == {
        ("gateway", 5432),
        ("gateway", 443),
        ("gateway-migrate", 5432),
        ("pre-pull-models", 443),
    }
    # Where images are bought, frame-gen asks the internet, and no private address.
    manifests = base_with("envoy", "network-policies", "cpu-only")
    assert ("frame-gen", 443) in outward(manifests)
    for peers, port in rules(manifests, manifests.pod("frame-gen"), "Egress"):
        if port == 443:
            refused = {block for peer in peers for block in peer["ipBlock"]["except"]}
            assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= refused


def test_metrics_are_read_from_monitoring_and_names_from_the_cluster():
    manifests = overlay("production")
    assert namespaces(manifests, "Ingress") == {
        *((name, "monitoring", 9464) for name in ("gateway", "frame-gen", "compositor")),
        *((name, "monitoring", 9902) for name in ("envoy-edge", "envoy-internal")),
        ("otel-collector", "monitoring", 8888),
    }
    assert namespaces(manifests, "Egress") == {
        *((pod.name, "kube-system", 53) for pod in manifests.pods),
        ("otel-collector", "monitoring", 4317),
    }
    # Each port of metrics that a pod announces is one that may be read.
    for pod in manifests.pods:
        port = pod.template["metadata"].get("annotations", {}).get("prometheus.io/port")
        if port is not None:
            assert (pod.name, "monitoring", int(port)) in namespaces(manifests, "Ingress")

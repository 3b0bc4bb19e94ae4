"""The alerts' own tests, and what a Prometheus Operator is told of pods and rules."""

import textwrap

import pytest
import yaml

from tests.support.manifests import COMPONENTS, DEPLOY, K8S, base_with, selects

RULES = DEPLOY / "telemetry" / "rules.yaml"
OPERATED = K8S / "components" / "prometheus-operator" / "rules.yaml"
EXCLUSIVE = {"cpu-only", "dev-postgres", "dev-s3"}
"""Components that are not deployed beside those of a cluster."""


def test_each_alert_is_seen_to_fire():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load(RULES.with_name("rules.test.yaml").read_text())["tests"]
    fires = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert alerts == fires


def test_the_operator_has_the_same_rules():
    head, spec, rules = OPERATED.read_text().partition("\nspec:\n")
    assert spec, head
    assert rules == textwrap.indent(RULES.read_text(), "  "), f"{OPERATED} says how it is made"
    (built,) = base_with("prometheus-operator").of("PrometheusRule")
    assert built["spec"] == yaml.safe_load(RULES.read_text())


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_operator_finds_each_pod_that_has_metrics_where_they_are(exclusive: bool):
    components = [name for name in COMPONENTS if (name in EXCLUSIVE) == exclusive]
    if exclusive:
        components.append("prometheus-operator")
    # `tls` and `network-policies` change what `envoy` brings.
    built = base_with(*sorted(components, key=lambda name: name in ("tls", "network-policies")))
    monitors = built.of("PodMonitor")
    for pod in built.pods:
        annotations = pod.template["metadata"].get("annotations", {})
        found = [m["spec"] for m in monitors if selects(m["spec"]["selector"], pod.labels)]
        if "prometheus.io/port" not in annotations:
            assert not found, str(pod)
            continue
        (monitor,) = found
        (endpoint,) = monitor["podMetricsEndpoints"]
        ports = [container.ports.get(endpoint["port"]) for container in pod.containers]
        assert int(annotations["prometheus.io/port"]) in ports, str(pod)

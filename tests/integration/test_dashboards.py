"""The dashboard, the rules and the page about them, held to what real services show."""

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

import compositor.metrics
import frame_gen.metrics
import gateway.metrics
from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import frame_pb2
from rpckit.client import open_channel
from tests.support.gateways import created, downloaded, ended, request
from tests.support.promql import labels, parsed, selectors, unknown
from tests.support.watched_process import three_services

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/telemetry"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PAGE = (ROOT / "docs/telemetry.md").read_text()
QUIET = {
    *("gator_store_errors_total", "gator_object_errors_total"),
    *("gator_compositions_refused_total", "gator_model_load_seconds"),
}
"""Metrics whose labels nothing shows while all goes well and no model is there."""


async def render_and_scrape(folder: Path) -> list[str]:
    """What the three services show after renders that succeed, fail and are refused."""
    async with (
        three_services(folder) as services,
        open_channel(await services.gateway.address) as channel,
    ):
        stub = RenderServiceStub(channel)
        async for _ in stub.Render(request(2, 0.5), wait_for_ready=True):
            pass
        render = await created(stub, request(2, 0.5))
        assert (await ended(stub, render.render_id)).state == pb.RENDER_STATE_SUCCEEDED
        await downloaded(stub, render.render_id)
        policy = frame_pb2.FALLBACK_POLICY_FAIL
        failed = await created(stub, request(1, 0.5, fallback_policy=policy))
        assert (await ended(stub, failed.render_id)).state == pb.RENDER_STATE_FAILED
        with pytest.raises(grpc.aio.AioRpcError):
            await created(stub, request(0))
        every = (services.gateway, services.frame_gen, services.compositor)
        return [await service.scraped() for service in every]


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Metrics by their name in the registry, as they were scraped."""
    merged = {}
    for page in asyncio.run(render_and_scrape(tmp_path_factory.mktemp("state"))):
        for family in text_string_to_metric_families(page):
            merged.setdefault(family.name, []).append(family)
    return merged


@pytest.fixture(scope="module")
def known(families):
    """Labels of every series that can be asked for, by name."""
    found = {}
    for name, group in families.items():
        for family in group:
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
        if not any(family.samples for family in group):
            # It is there, and has nothing to tell yet: what it has is known from its definition.
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            declared = {*declared_labels(name), *({"le"} if group[0].type == "histogram" else ())}
            for suffix in suffixes[group[0].type]:
                found[name + suffix] = declared
    return {name: frozenset(labels) for name, labels in found.items()}


def declared_labels(name):
    assert {compositor.metrics, frame_gen.metrics, gateway.metrics}
    return REGISTRY._names_to_collectors[name]._labelnames


@pytest.fixture(scope="module")
def known_and_recorded(known):
    """And those of the rates that rules record."""
    every = dict(known)
    for rule in RULES:
        if "record" in rule:
            every[rule["record"]] = labels(parsed(rule["expr"]), every)
    return every


def dashboard_panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


# --- expressions -----------------------------------------------------------------------------


@pytest.mark.parametrize("panel", dashboard_panels(), ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_the_services_show(panel, known_and_recorded):
    for target in panel["targets"]:
        expression = parsed(target["expr"])
        assert unknown(expression, known_and_recorded) == []
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert named <= labels(expression, known_and_recorded)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_a_rule_asks_for_what_the_services_show(rule, known_and_recorded):
    expression = parsed(rule["expr"])
    assert unknown(expression, known_and_recorded) == []
    texts = " ".join(rule.get("annotations", {}).values())
    named = set(re.findall(r"\$labels\.(\w+)", texts))
    assert named <= labels(expression, known_and_recorded)


def test_what_is_not_there_is_noticed(known_and_recorded):
    for text in (
        "gator_no_such_metric",
        'sum(rate(gator_frames_total{colour="red"}[5m]))',
        "sum by (colour) (rate(gator_frames_total[5m]))",
        "sum by (le, colour) (rate(gator_rpc_duration_seconds_bucket[5m]))",
    ):
        assert unknown(parsed(text), known_and_recorded) != []
    with pytest.raises(ValueError, match="rate"):
        parsed("rate(gator_frames_total)")


def test_only_errors_and_models_had_nothing_to_show(families):
    silent = {name for name, group in families.items() if not any(f.samples for f in group)}
    assert {name.removesuffix("_total") for name in silent} <= {
        name.removesuffix("_total") for name in QUIET
    }


def test_every_metric_of_ours_is_on_the_dashboard_or_in_an_alert(families):
    asked = {
        selector.name
        for text in [t["expr"] for p in dashboard_panels() for t in p["targets"]]
        + [rule["expr"] for rule in RULES]
        for selector in selectors(parsed(text))
    }
    ours = {name for name in families if name.startswith("gator_")}
    missing = {
        name for name in ours if not any(re.fullmatch(rf"{name}(_\w+)?", one) for one in asked)
    }
    assert missing == set()


# --- the files -------------------------------------------------------------------------------


def test_panels_have_their_own_ids_and_places():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert {"Gateway", "Frame generation", "Compositor"} <= set(rows)


def test_panels_read_from_the_prometheus_that_is_chosen():
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["query"]) == ("datasource", "prometheus")
    for panel in dashboard_panels():
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source["uid"] == "${datasource}" for source in sources)
        assert panel["description"]


def test_alerts_say_what_is_wrong_and_the_page_says_what_to_do():
    alerts = [rule for rule in RULES if "alert" in rule]
    for alert in alerts:
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"].keys() == {"summary", "description"}
        assert f"`{alert['alert']}`" in PAGE
    recorded = [rule["record"] for rule in RULES if "record" in rule]
    assert all(f"| `{name}` |" in PAGE for name in recorded)


def test_the_page_has_every_metric_with_its_type_and_labels(families, known):
    rows = re.findall(r"^\| `(gator_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", PAGE, re.MULTILINE)
    told = {name: (kind, set(re.findall(r"`(\w+)`", listed))) for name, kind, listed, _ in rows}
    shown = {}
    for name, group in families.items():
        if not name.startswith("gator_"):
            continue
        family = group[0]
        series = {"counter": name + "_total", "histogram": name + "_bucket"}.get(family.type, name)
        full = series if family.type == "counter" else name
        shown[full] = (family.type, set(known[series]) - {"le"})
    assert told == shown


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", FOLDER / "rules.yaml"),
        ("test", "rules", FOLDER / "rules.test.yaml"),
        # Where it runs, the files that this names are mounted.
        ("check", "config", "--syntax-only", ROOT / "deploy/prometheus/prometheus.yaml"),
    ],
    ids=lambda command: f"{command[0]} {command[1]}",
)
def test_prometheus_itself_takes_the_files(command):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian has it in the package prometheus)")
    done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""The catalog and the settings that choose from it."""

import json
import re

import pytest
from pydantic import ValidationError

from frame_gen.diffusion.catalog import BUILT_IN, Catalog, Engine, ModelEntry, UnknownModel
from frame_gen.diffusion.settings import DiffusersSettings


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.name)
def test_built_in_models_generate_near_16_by_9_at_their_native_area(entry):
    assert entry.width / entry.height == pytest.approx(16 / 9, rel=0.04)
    assert entry.width * entry.height == pytest.approx(entry.native_area, rel=0.05)
    assert entry.width % entry.multiple == entry.height % entry.multiple == 0
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repository)
    assert "not known" not in entry.licence
    assert entry.weights > 10**9


def test_the_families_that_are_stepped_and_larger_ones_are_there():
    by_engine = {engine: [e.name for e in BUILT_IN if e.engine is engine] for engine in Engine}
    assert by_engine[Engine.STEPS] == ["sdxl", "sd15"]
    assert "pixart-sigma" in by_engine[Engine.PIPELINE]


def test_unset_settings_prefer_sdxl_and_know_no_folder():
    assert [entry.name for entry in DiffusersSettings().entries()] == ["sdxl", "sd15"]


def test_settings_add_and_replace_entries(monkeypatch):
    mine = {"name": "mine", "folder": "/models/mine", "width": 640, "height": 384}
    other = {"name": "sd15", "repository": "me/tuned", "width": 768, "height": 448}
    prefix = "GATOR_FRAME_GEN_DIFFUSERS_"
    monkeypatch.setenv(prefix + "CATALOG", json.dumps([mine, other]))
    monkeypatch.setenv(prefix + "MODELS", "mine, sd15")
    first, second = DiffusersSettings().entries()
    assert (first.source, first.width) == ("mine", 640)
    assert (second.source, second.engine) == ("me/tuned", Engine.PIPELINE)


def test_a_model_that_is_not_in_the_catalog_is_said_at_start(monkeypatch):
    monkeypatch.setenv("GATOR_FRAME_GEN_DIFFUSERS_MODELS", "sd9")
    with pytest.raises(ValidationError, match="no model 'sd9' in the catalog; it has sdxl, sd15"):
        DiffusersSettings()
    with pytest.raises(UnknownModel):
        Catalog().entries(["sd9"])


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"repository": "a/b", "width": 100, "height": 64}, "width is 100"),
        ({"repository": "a/b", "width": 64, "height": 0}, "height is 0"),
        ({"width": 64, "height": 64}, "set repository or folder"),
    ],
)
def test_an_entry_that_cannot_work_is_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        ModelEntry(name="x", **values)


def test_a_distilled_model_keeps_its_own_steps_and_guidance():
    schnell = Catalog().entries(["flux1-schnell"])[0]
    sdxl = Catalog().entries(["sdxl"])[0]
    assert schnell.settings_for(25, 7.5) == (4, 0.0)
    assert schnell.settings_for(2, 7.5) == (2, 0.0)
    assert sdxl.settings_for(25, 7.5) == (25, 7.5)

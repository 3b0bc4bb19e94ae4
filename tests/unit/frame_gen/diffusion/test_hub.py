"""Where models are looked for on this machine, and when the hub may be asked."""

import json

import pytest

from frame_gen.diffusion import hub
from frame_gen.diffusion.choosing import may_download
from frame_gen.diffusion.settings import DiffusersSettings
from tests.support.model_folders import entry, hollow_model, write_safetensors

COMMIT = "c" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_of_the_entry_goes_before_the_common_one_and_that_before_the_cache(
    cache, tmp_path
):
    repository = cache / "models--tiny--x"
    cached = hollow_model(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert hub.locate(entry("x"), tmp_path / "models") == hub.Located(cached, COMMIT)
    common = hollow_model(tmp_path / "models" / "x")
    assert hub.find_folder(entry("x"), tmp_path / "models") == common
    own = hollow_model(tmp_path / "own")
    assert hub.find_folder(entry("x", own), tmp_path / "models") == own


def test_a_pinned_commit_needs_no_branch(cache):
    cached = hollow_model(cache / "models--tiny--x" / "snapshots" / COMMIT)
    assert hub.find_folder(entry("x", revision=COMMIT)) == cached
    assert hub.find_folder(entry("x")) is None
    assert hub.find_folder(entry("x", revision="d" * 40)) is None


@pytest.mark.parametrize("lost", ["model_index.json", "unet", "vae/diffusion_pytorch_model"])
def test_a_model_with_a_part_missing_is_not_there(tmp_path, lost):
    folder = hollow_model(tmp_path / "x")
    assert hub.is_whole(folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        if str(path.relative_to(folder)).startswith(lost):
            path.rmdir() if path.is_dir() else path.unlink()
    assert not hub.is_whole(folder)


def test_a_model_with_a_shard_missing_is_not_there(tmp_path):
    folder = hollow_model(tmp_path / "x")
    unet = folder / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    names = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    write_safetensors(unet / names[0], {"a": ("F16", [1])})
    assert not hub.is_whole(folder)
    write_safetensors(unet / names[1], {"b": ("F16", [1])})
    assert hub.is_whole(folder)


def test_the_revision_of_a_folder_changes_with_its_weights(tmp_path):
    first = hollow_model(tmp_path / "a")
    second = hollow_model(tmp_path / "b")
    revision = hub.locate(entry("a", first)).revision
    assert revision == hub.locate(entry("b", second)).revision
    weights = second / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert revision != hub.locate(entry("b", second)).revision


def test_only_what_is_needed_is_downloaded():
    files = [
        "README.md",
        "model_index.json",
        "sd.ckpt",
        "pipeline.py",
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model-00001-of-00002.safetensors",
        "vae/diffusion_pytorch_model-00002-of-00002.safetensors",
        "vae/diffusion_pytorch_model.safetensors.index.json",
        "vae/diffusion_pytorch_model.bin.index.json",
        "vae/onnx/model.onnx",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
        "safety_checker/model.safetensors",
    ]
    assert hub.wanted_files(files, ["unet", "vae", "tokenizer"], "fp16") == [
        "model_index.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/config.json",
        "vae/diffusion_pytorch_model-00001-of-00002.safetensors",
        "vae/diffusion_pytorch_model-00002-of-00002.safetensors",
        "vae/diffusion_pytorch_model.safetensors.index.json",
        "vae/config.json",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
    ]


@pytest.mark.parametrize(
    ("download", "environment", "allowed"),
    [
        ("auto", {}, False),
        ("auto", {"HF_TOKEN": "hf_x"}, True),
        ("auto", {"HF_TOKEN": "hf_x", "HF_HUB_OFFLINE": "1"}, False),
        ("always", {}, True),
        ("always", {"HF_HUB_OFFLINE": "true"}, False),
        ("always", {"HF_HUB_OFFLINE": "0"}, True),
        ("never", {"HF_TOKEN": "hf_x"}, False),
    ],
)
def test_the_hub_is_asked_only_where_that_is_wanted(
    monkeypatch, tmp_path, download, environment, allowed
):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert may_download(DiffusersSettings(download=download)) is allowed


def test_a_login_counts_as_a_token(tmp_path):
    assert not hub.has_token({"HF_HOME": str(tmp_path)})
    (tmp_path / "token").write_text("hf_x")
    assert hub.has_token({"HF_HOME": str(tmp_path)})
    assert hub.cache_folder({"HF_HOME": str(tmp_path)}) == tmp_path / "hub"
    assert hub.cache_folder({"XDG_CACHE_HOME": "/c"}).as_posix() == "/c/huggingface/hub"

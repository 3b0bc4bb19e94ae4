"""Models come from a stand-in for the hub on loopback, over its real HTTP."""

import threading

import pytest

from frame_gen.diffusion import hub as places
from frame_gen.diffusion.download import Downloader, DownloadError, DownloadStopped
from tests.support.model_folders import entry, hollow_model
from tests.support.model_hub import COMMIT, serve_models


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = hollow_model(tmp_path / "served", variant="fp16", elements=1_000_000)
    (folder / "sd.ckpt").write_bytes(bytes(10))
    with serve_models({"tiny/x": folder}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def downloader(stopped=lambda: False):
    return Downloader(60.0, stopped)


def download(model=None, **more):
    return downloader(**more).download(model or entry("x", variant="fp16"), safety_checker=True)


def test_what_is_needed_is_downloaded_once_and_pinned_to_its_commit(served):
    model = entry("x", variant="fp16")
    assert places.locate(model) is None
    located = download(model)
    assert located.revision == COMMIT
    assert places.locate(model) == located
    got = {str(p.relative_to(located.folder)) for p in located.folder.rglob("*") if p.is_file()}
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in got
    assert "sd.ckpt" not in got
    assert not any("ckpt" in request for request in served.requests)


def test_progress_is_told_while_it_downloads(served):
    served.held = threading.Event()
    running = downloader()
    seen = []

    def watch():
        served.half_sent.wait(30)
        while not seen or seen[-1] is None or not seen[-1].done:
            seen.append(running.progress)
        served.held.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    running.download(entry("x", variant="fp16"), safety_checker=True)
    watcher.join()
    assert 0 < seen[-1].done <= seen[-1].total
    assert seen[-1].total > 3 * 1_000_000 * 2
    assert running.progress is None


def test_a_download_that_nobody_wants_any_more_stops_and_goes_on_later(served):
    served.held = threading.Event()
    stopped = threading.Event()

    def stop():
        served.half_sent.wait(30)
        stopped.set()
        served.held.set()

    threading.Thread(target=stop).start()
    with pytest.raises(DownloadStopped):
        download(stopped=stopped.is_set)
    assert places.locate(entry("x", variant="fp16")) is None
    served.held = None
    assert download().revision == COMMIT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": 503}, "the hub answered 503 for tiny/x"),
        ({"token": "hf_right"}, "wants its terms accepted: do so on its page of the hub"),
        ({"broken": "diffusion_pytorch_model.fp16.safetensors"}, "the hub answered 500"),
        ({"repositories": {}}, "the hub has no tiny/x for this user; set HF_TOKEN"),
    ],
    ids=["away", "gated", "broken", "none"],
)
def test_what_went_wrong_is_told_with_what_to_do(served, change, message):
    for name, value in change.items():
        setattr(served, name, value)
    with pytest.raises(DownloadError, match=message):
        download()
    assert places.locate(entry("x", variant="fp16")) is None


def test_the_token_opens_what_is_gated_and_is_not_told(served, monkeypatch, caplog):
    served.token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DownloadError) as told:
        download()
    assert "hf_wrong" not in str(told.value)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert download().revision == COMMIT
    assert "hf_wrong" not in caplog.text
    assert "hf_right" not in caplog.text


def test_without_a_network_it_is_said_in_a_moment(served, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="the hub could not be reached for tiny/x"):
        download()


def test_a_repository_without_safetensors_is_no_model(served):
    for file in served.repositories["tiny/x"].rglob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with pytest.raises(DownloadError, match="no model in safetensors files"):
        download()

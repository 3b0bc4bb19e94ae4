"""Values read from files: when they are read again, and what stays when that fails."""

import threading

import pytest
from structlog.testing import capture_logs

from rpckit import reloaded
from rpckit.reloaded import Reloaded


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(reloaded, "time", clock)
    return clock


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "file"
    file.write_text("first")
    return file


def numbers(file):
    return Reloaded("a number", [file, None], lambda: int(file.read_text()))


def test_files_are_looked_at_once_a_second(file, clock):
    value = Reloaded("a text", [file], file.read_text)
    file.write_text("second")
    clock.now = 0.99
    assert value.get() == "first"
    clock.now = 1.0
    assert value.get() == "second"
    assert value.get() is value.get()


def test_a_link_that_is_turned_is_a_change(tmp_path, clock):
    """As Kubernetes does it: the folder is a link, and the files in it are links through it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    data, file = tmp_path / "..data", tmp_path / "file"
    data.symlink_to("one")
    file.symlink_to("..data/file")
    value = Reloaded("a text", [file], file.read_text)
    assert value.get() == "one"
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(data)
    clock.now += 1
    assert value.get() == "two"


def test_what_cannot_be_read_changes_nothing_and_is_tried_again(file, clock):
    file.write_text("1")
    value = numbers(file)
    with capture_logs() as logs:
        for content in ("two", "two", "", None):
            if content is None:
                file.unlink()
            else:
                file.write_text(content)
            clock.now += 1
            assert value.get() == 1
        file.write_text("3")
        clock.now += 1
        assert value.get() == 3
    # Each complaint once, however often it is looked.
    kinds = [entry["why"].partition(":")[0] for entry in logs if "why" in entry]
    assert kinds == ["ValueError", "ValueError", "FileNotFoundError"]
    assert logs[-1]["event"] == "read again"


def test_what_cannot_be_read_at_first_is_raised(tmp_path):
    with pytest.raises(FileNotFoundError):
        numbers(tmp_path / "none")


def test_threads_get_the_same_value_after_a_change(file, clock):
    value = Reloaded("a text", [file], lambda: [file.read_text()])
    file.write_text("second")
    clock.now = 1
    got = []
    threads = [threading.Thread(target=lambda: got.append(value.get())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each is got[0] for each in got)
    assert got[0] == ["second"]

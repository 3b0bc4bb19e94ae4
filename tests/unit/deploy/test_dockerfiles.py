"""The Dockerfiles: linted, pinned, not root, each with what its service needs and no more."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployed import SERVICES
from tests.support.manifests import DEPLOY

FILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
EXTRAS = {
    "gateway": {"gateway", "otel"},
    "frame-gen": {'"$extra"', "openai", "otel"},
    "compositor": {"compositor", "otel"},
}


def test_there_is_one_a_service():
    assert [file.stem for file in FILES] == sorted(EXTRAS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_hadolint_finds_nothing(file: Path):
    hadolint = Path(sys.executable).parent / "hadolint"
    found = subprocess.run(
        [hadolint, "--no-color", file], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_image_is_pinned_and_has_no_rights(file: Path):
    text = file.read_text()
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", text, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-bookworm", base)
    last = text.split("\nFROM ")[-1]
    assert last.startswith("${PYTHON_IMAGE}\n")
    assert "USER 10001:10001" in last
    # Nothing is installed or built in what is shipped.
    assert "RUN" not in last
    assert "HEALTHCHECK" in last
    for packages in re.findall(r"uv pip install .*(?:\\\n.*)*", text):
        assert "--constraint requirements.lock" in packages


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_image_has_the_packages_of_its_service_only(file: Path):
    text = file.read_text()
    (installed,) = re.findall(r"--requirements pyproject.toml (.*)", text)
    assert set(re.findall(r"--extra (\S+)", installed)) == EXTRAS[file.stem]
    if file.stem == "frame-gen":
        # torch comes with the second only.
        variants = dict(re.findall(r"(\w+)\) extra=(\S+) ;;", text))
        assert variants == {"cpu": "frame-gen", "cuda": "diffusers"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_image_listens_on_the_port_of_its_service(file: Path):
    port = SERVICES[file.stem].model_fields["listen"].default.rpartition(":")[2]
    text = file.read_text()
    assert re.search(rf"_LISTEN=0\.0\.0\.0:{port}\b", text)
    assert f"EXPOSE {port} 50060" in text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_only_what_is_needed_is_sent_to_the_builder(file: Path):
    ignored = file.with_name(f"{file.name}.dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", file.read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert sent == copied
    for source in copied:
        assert (DEPLOY.parent / source).exists()

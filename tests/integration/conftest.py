"""What the tests of image models need, torch only for them; databases for those of the store."""

import os

import pytest

from tests.support.databases import (  # noqa: F401 - fixtures
    database,
    postgres_server,
    postgresql_database,
    sqlite_database,
    sqlite_template,
    store,
)
from tests.support.lease_clock import lease_clock  # noqa: F401 - a fixture
from tests.support.object_stores import s3_server

# Read when the hub's library is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """A folder with one model, `tiny`: Stable Diffusion 1.5 with two small blocks."""
    torch = pytest.importorskip("torch")
    # Tiny tensors are up to 20 times slower with two threads on a busy machine.
    torch.set_num_threads(1)
    from tests.support.model_folders import save  # noqa: PLC0415 - needs torch
    from tests.support.tiny_models import sd15_pipeline  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("models")
    save(sd15_pipeline(), folder / "tiny")
    return folder


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server

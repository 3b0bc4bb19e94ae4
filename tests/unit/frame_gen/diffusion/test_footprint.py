"""Memory that a model will need, told before it is loaded."""

import pytest

from frame_gen.diffusion.catalog import SD15, SDXL, Dtype
from frame_gen.diffusion.footprint import (
    RESERVE,
    BadWeights,
    Weights,
    elements_in,
    predict,
    rows_that_fit,
    weight_files,
    weights_of,
)
from tests.support.model_folders import hollow_model, write_safetensors

GIB = 1 << 30


def test_elements_are_counted_from_the_header_whatever_their_format(tmp_path):
    file = tmp_path / "a.safetensors"
    tensors = {"a": ("F32", [10, 20]), "b": ("BF16", [7]), "c": ("I64", []), "d": ("F16", [0])}
    write_safetensors(file, tensors)
    assert elements_in(file) == 208


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 64,
        (20).to_bytes(8, "little") + b"not JSON at all.....",
        (2).to_bytes(8, "little") + b"[]",
        (11).to_bytes(8, "little") + b'{"a": null}',
    ],
    ids=["empty", "zeros", "huge header", "no JSON", "a list", "no tensor"],
)
def test_what_is_no_weight_file_is_said_to_be_none(tmp_path, content):
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    with pytest.raises(BadWeights, match=r"a\.safetensors is not a safetensors file"):
        elements_in(file)


def test_a_file_that_is_cut_off_is_found_before_it_is_loaded(tmp_path):
    file = tmp_path / "a.safetensors"
    write_safetensors(file, {"a": ("F32", [1000])})
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadWeights, match="cut off"):
        elements_in(file)


def test_weights_of_the_variant_go_before_the_plain_ones(tmp_path):
    folder = hollow_model(tmp_path, variant="fp16", elements=500)
    write_safetensors(folder / "unet" / "diffusion_pytorch_model.safetensors", {"w": ("F32", [9])})
    write_safetensors(
        folder / "unet" / "diffusion_pytorch_model.non_ema.safetensors", {"w": ("F32", [9])}
    )
    marked = weight_files(folder, "fp16")
    assert [path.name for path in marked["unet"]] == ["diffusion_pytorch_model.fp16.safetensors"]
    assert [path.name for path in weight_files(folder)["unet"]] == [
        "diffusion_pytorch_model.safetensors"
    ]
    assert weights_of(folder, "fp16").bytes(Dtype.BFLOAT16) == 3 * 500 * 2
    assert weights_of(folder, "fp16").bytes(Dtype.FLOAT32) == 3 * 500 * 4


def test_the_safety_checker_counts_only_where_it_is_used(tmp_path):
    folder = hollow_model(tmp_path, elements=10)
    write_safetensors(folder / "safety_checker" / "model.safetensors", {"w": ("F32", [100])})
    assert sum(weights_of(folder).elements.values()) == 130
    assert sum(weights_of(folder, safety_checker=False).elements.values()) == 30


def test_sdxl_and_sd15_are_predicted_near_what_is_published():
    # Peaks of SDXL in 16 bits at about 1024 pixels squared are published as 9 to 10.5 GB,
    # with a VAE in 32 bits: that is twice the decoding.
    sdxl = predict(SDXL, None, Dtype.BFLOAT16, rows=2)
    assert 8.5e9 < sdxl.peak < 9.5e9
    assert 9e9 < sdxl.peak + sdxl.decode < 10.8e9
    assert 2.5e9 < predict(SD15, None, Dtype.BFLOAT16, rows=2).peak < 4e9


def test_weights_in_the_files_go_before_the_catalogs_figure():
    weights = Weights({"unet": 1_000_000, "vae": 10})
    footprint = predict(SDXL, weights, Dtype.FLOAT32, rows=1)
    assert (footprint.weights, footprint.largest) == (4_000_040, 4_000_000)


def test_more_memory_never_means_fewer_rows():
    fits = [rows_that_fit(SDXL, None, Dtype.BFLOAT16, free * GIB, 16) for free in range(1, 40)]
    assert fits == sorted(fits)
    assert fits[0] == 0
    assert fits[-1] == 16
    for free, rows in enumerate(fits, start=1):
        if rows:
            assert predict(SDXL, None, Dtype.BFLOAT16, rows).needed <= free * GIB
        if rows < 16:
            assert predict(SDXL, None, Dtype.BFLOAT16, rows + 1).needed > free * GIB


def test_the_least_is_less_than_what_full_speed_needs():
    footprint = predict(SDXL, Weights({"unet": 10**9, "vae": 10**8}), Dtype.BFLOAT16, rows=8)
    assert RESERVE < footprint.least_offloaded < footprint.least < footprint.needed

"""Which device is found, and what is known of it."""

import pytest
import torch

from frame_gen.diffusion import device as devices
from frame_gen.diffusion.catalog import Dtype
from frame_gen.diffusion.device import Device, DeviceType, NoDevice, find_device, number_format


def test_the_cpu_is_used_only_if_a_setting_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "no_accelerator", lambda: True)
    with pytest.raises(NoDevice, match=r"no GPU; set GATOR_FRAME_GEN_DIFFUSERS_DEVICE=cpu .*slow"):
        find_device("auto")
    cpu = find_device("cpu")
    assert cpu.type is DeviceType.CPU
    assert 0 < cpu.free_memory <= cpu.total_memory
    assert not cpu.is_gpu


def test_a_gpu_that_torch_does_not_see_is_no_device(monkeypatch):
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(devices, "no_accelerator", lambda: False)
    with pytest.raises(NoDevice, match="torch sees no GPU"):
        find_device("auto")
    with pytest.raises(NoDevice, match="torch sees no cuda device"):
        find_device("cuda")


def test_a_linux_machine_without_the_drivers_files_has_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(devices.platform, "system", lambda: "Linux")
    assert devices.no_accelerator(tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not devices.no_accelerator(tmp_path)


def test_memory_is_what_the_container_may_use(tmp_path):
    (tmp_path / "memory.current").write_text("1000")
    (tmp_path / "memory.max").write_text("max")
    assert devices._container_memory(tmp_path) == (0, 0)
    (tmp_path / "memory.max").write_text("4000")
    assert devices._container_memory(tmp_path) == (4000, 1000)
    assert devices._container_memory(tmp_path / "none") == (0, 0)


def test_rocm_is_reported_as_such_and_called_cuda_by_torch():
    assert Device(DeviceType.ROCM).torch_name == "cuda"
    assert Device(DeviceType.CUDA).torch_name == "cuda"
    assert Device(DeviceType.MPS).torch_name == "mps"


def test_number_formats_follow_the_device_unless_the_entry_says():
    cpu = Device(DeviceType.CPU)
    assert number_format(Dtype.AUTO, cpu) is Dtype.FLOAT32
    assert number_format(Dtype.AUTO, Device(DeviceType.MPS)) is Dtype.FLOAT16
    assert number_format(Dtype.BFLOAT16, cpu) is Dtype.BFLOAT16


def test_tensors_on_the_cpu_are_not_counted():
    assert devices.peak_memory(Device(DeviceType.CPU), restart=True) is None

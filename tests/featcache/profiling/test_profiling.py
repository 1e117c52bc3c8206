"""What a model costs: MACs as torchvision publishes them, latency with its spread, memory, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from featcache.backbones import build_head, load_backbone
from featcache.devices import device_name
from featcache.options.model_options import ModelOptions
from featcache.options.profile_options import ProfileOptions
from featcache.profiling import latency, model_profile, throughput
from featcache.profiling.macs import MacCount, count_macs
from featcache.profiling.model_profile import profile_model
from featcache.records import Profile

CPU = torch.device("cpu")
FEW = [
    "alexnet",
    "convnext_tiny",
    "efficientnet_b0",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vit_b_32",
]


# Multiply-accumulates


def network_without_values(name: str, **extra: Any) -> nn.Module:
    """Zeros for weights: drawing them takes longer than the count, which does not look at them."""
    if name.startswith("regnet"):  # computes its widths with tensors, which must have values
        return models.get_model(name).eval()
    with torch.device("meta"):
        network = models.get_model(name, **extra)
    network = network.to_empty(device="cpu").eval()
    for tensor in network.state_dict().values():
        tensor.zero_()
    return network


def published(name: str) -> tuple[float, int, dict[str, Any]]:
    """G multiply-adds of the default weights, the image size they are for, and how the network is built for it."""
    weights = models.get_model_weights(name).DEFAULT
    size = weights.transforms().crop_size[0]
    extra: dict[str, Any] = {"image_size": size} if name.startswith("vit_") else {}
    if name in {"googlenet", "inception_v3"}:
        extra = {"aux_logits": False, "init_weights": False}
    return float(weights.meta["_ops"]), size, extra


def check_published(name: str) -> None:
    giga, size, extra = published(name)
    count = count_macs(network_without_values(name, **extra), size)
    # Half a percent, or half of the last digit that is published.
    assert count.macs / 1e9 == pytest.approx(giga, rel=5e-3, abs=5e-4), (count.by_operator, count.unmapped)


@pytest.mark.parametrize("name", FEW)
def test_macs_agree_with_torchvisions(name: str) -> None:
    check_published(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(models.list_models(module=models)))
def test_macs_agree_with_torchvisions_for_every_model(name: str) -> None:
    check_published(name)


def test_attention_is_counted() -> None:
    """torchvision's own attention, whose fast path hides from counters: 17.56 G, not 11.3 and not 16.9."""
    count = count_macs(network_without_values("vit_b_16"), 224)
    assert count.macs / 1e9 == pytest.approx(17.56, abs=0.01)
    tokens, width, layers = 197, 768, 12
    products = sum(v for k, v in count.by_operator.items() if k not in {"conv", "linear", "addmm"})
    assert products == layers * 2 * tokens * tokens * width


def test_scaled_dot_product_attention_is_counted() -> None:
    count = count_macs(timm.create_model("test_vit", img_size=64).eval(), 64)
    tokens = (64 // 16) ** 2 + 1
    blocks, width = 6, 64
    assert count.by_operator["attention"] == blocks * 2 * tokens * tokens * width
    assert not any("attention" in name for name in count.unmapped)


# Blocks that repeat are counted twice, not a dozen times.
SHALLOW: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"depth": 2},
    "swin_tiny_patch4_window7_224": {"depths": (2, 2, 2, 2)},
}


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        pytest.param("deit_tiny_patch16_224", marks=pytest.mark.slow),
        "swin_tiny_patch4_window7_224",
        pytest.param("beit_base_patch16_224", marks=pytest.mark.slow),
        pytest.param("cait_xxs24_224", marks=pytest.mark.slow),
        "xcit_nano_12_p16_224",
        pytest.param("twins_pcpvt_small", marks=pytest.mark.slow),
        pytest.param("mobilevitv2_050", marks=pytest.mark.slow),
        "levit_128s",
        pytest.param("pvt_v2_b0", marks=pytest.mark.slow),
        pytest.param("eva02_tiny_patch14_224", marks=pytest.mark.slow),
        pytest.param("maxvit_rmlp_pico_rw_256", marks=pytest.mark.slow),
    ],
)
def test_timms_attention_agrees_with_a_count_of_every_module(name: str) -> None:
    """fvcore, module by module, with attention written out as the matrix products that it has handlers for."""
    from fvcore.nn import FlopCountAnalysis

    timm.layers.set_fused_attn(False)
    try:
        network = timm.create_model(name, **SHALLOW.get(name, {})).eval()
        size = network.pretrained_cfg["input_size"][-1]
        analysis = FlopCountAnalysis(network, torch.zeros(1, 3, size, size))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        counted = {"conv", "linear", "matmul", "addmm", "bmm", "baddbmm", "einsum"}
        expected = sum(v for k, v in analysis.by_module_and_operator()[""].items() if k in counted)
    finally:
        timm.layers.set_fused_attn(True)
    found = count_macs(timm.create_model(name, **SHALLOW.get(name, {})).eval(), size)
    assert found.macs == pytest.approx(expected, rel=0.03), (found.by_operator, found.unmapped)


class Convolution(nn.Module):
    """Everything about it can be counted by hand; the sine cannot be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1, groups=1)
        self.norm = nn.BatchNorm2d(8)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sin(torch.sin(self.norm(self.convolution(x))))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def test_counts_are_those_of_a_calculation_by_hand() -> None:
    count = count_macs(Convolution().eval(), 16)
    assert count.by_operator == {"conv": 16 * 16 * 8 * 3 * 3 * 3, "linear": 8 * 5}
    assert count.macs == 16 * 16 * 8 * 27 + 40
    assert count.other_flops  # the norm, reported apart
    assert count.unmapped["aten::sin"] == 2  # no handler knows it: said, not hidden


def test_baddbmm_and_einsum_count() -> None:
    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.zeros(1, 16, 5))

        def forward(self, x: Tensor) -> Tensor:
            rows = x[:, 0]  # [1, 16, 16]
            added = torch.baddbmm(torch.zeros(1, 16, 5), rows, self.matrix)
            return added + torch.einsum("bij,bjk->bik", rows, self.matrix)

    count = count_macs(Products(), 16)
    assert count.macs == 2 * 16 * 16 * 5


@pytest.mark.parametrize("enabled", [True, False])
def test_the_fast_path_is_as_it_was(enabled: bool) -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        count_macs(Convolution().eval(), 16)
        assert torch.backends.mha.get_fastpath_enabled() is enabled
        with pytest.raises(RuntimeError):
            count_macs(nn.Sequential(nn.Linear(7, 2)), 16)  # cannot take the image
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_a_backbones_count_lacks_its_classifier() -> None:
    backbone = load_backbone(ModelOptions(backbone="mobilenet_v3_small", input_size=64, pretrained=False))
    whole = count_macs(network_without_values("mobilenet_v3_small"), 64).macs
    assert count_macs(backbone, 64).macs == whole - (576 * 1024 + 1024 * 1000)


# The profile


@pytest.fixture(scope="module")
def profile() -> Profile:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as every test here; this runs before them
    backbone = load_backbone(ModelOptions(backbone="squeezenet1_1", input_size=64, pretrained=False))
    measured = profile_model(
        backbone,
        build_head((512, 16, 4), 0.2),
        input_size=64,
        precision="float32",
        throughput_batch_size=4,
        options=ProfileOptions(iterations=40, warmup=2),
        device=CPU,
    )
    torch.set_num_threads(threads)
    return measured


def test_latency_has_its_spread_and_its_conditions(profile: Profile) -> None:
    latency = profile.latency_ms
    assert 0 < latency.p50 <= latency.p95 <= latency.p99
    assert latency.p50 / 10 < latency.mean < latency.p99 * 10 and latency.std > 0
    assert (latency.iterations, latency.warmup, latency.batch_size) == (40, 2, 1)
    assert (profile.input_size, profile.precision) == (64, "float32")
    assert profile.threads == 1 and profile.measured_at.endswith("+00:00")


def test_throughput_is_that_of_its_batch_size(profile: Profile) -> None:
    assert profile.throughput_batch_size == 4
    # One image alone takes about a latency; a batch is neither twenty times better nor worse for each image.
    alone = 1e3 / profile.latency_ms.p50
    assert alone / 20 < profile.images_per_second < alone * 20


def test_flops_are_twice_the_macs_of_backbone_and_head(profile: Profile) -> None:
    backbone = load_backbone(ModelOptions(backbone="squeezenet1_1", input_size=64, pretrained=False))
    head = 512 * 16 + 16 * 4
    assert profile.macs == count_macs(backbone, 64).macs + head == sum(profile.macs_by_operator.values())
    assert profile.flops == 2 * profile.macs
    assert profile.params_head == head + 16 + 4
    assert profile.params_backbone == backbone.info.params
    assert profile.counter.startswith("fvcore ")


def test_the_device_is_named(profile: Profile) -> None:
    assert profile.device == device_name(CPU) and profile.device.strip()


def test_peak_memory_holds_at_least_what_the_pass_needed(profile: Profile) -> None:
    assert profile.peak_memory_bytes > 4 * (profile.params_backbone + profile.params_head)
    assert profile.peak_memory_kind == "resident memory of the process"


def test_peak_memory_is_of_the_pass_and_not_of_what_came_before() -> None:
    class Hungry(nn.Module):
        def __init__(self, megabytes: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.elements = megabytes << 18

        def forward(self, x: Tensor) -> Tensor:
            big = torch.ones(self.elements)
            return x.mean(dim=(2, 3)) + big.sum() * 0 + self.weight

    def peak(megabytes: int) -> int:
        return measure(Hungry(megabytes), iterations=5, features=3).peak_memory_bytes

    much = peak(256)
    little = peak(1)
    assert much - little > 128 << 20  # the earlier, larger pass leaves no mark on the later one


def measure(backbone: nn.Module, iterations: int, features: int) -> Profile:
    return profile_model(
        backbone,
        nn.Linear(features, 2),
        input_size=16,
        precision="float32",
        throughput_batch_size=2,
        options=ProfileOptions(iterations=iterations, warmup=0),
        device=CPU,
    )


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Milliseconds that the next measurement will find."""
    given: list[float] = []

    def timed(images: Tensor, stages: Sequence[Any], iterations: int, device: torch.device) -> Any:
        whole = np.array(given)[:, None]
        return whole if len(stages) == 1 else np.hstack([0.75 * whole, 0.25 * whole])

    for module in (latency, throughput):
        monkeypatch.setattr(module, "time_passes", timed)
    monkeypatch.setattr(model_profile, "count_macs", lambda model, size: MacCount(0, {}, {}, {}))
    return given


@pytest.mark.parametrize(
    ("slow", "busy"), [(10.0, False), (14.9, False), (15.1, True), (100.0, True)], ids=["even", "below", "above", "far"]
)
def test_busy_means_a_p95_over_half_again_the_median(times: list[float], slow: float, busy: bool) -> None:
    times += [10.0] * 90 + [slow] * 10
    assert measure(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 100, 3).busy is busy


def test_one_outlier_in_a_hundred_is_not_busy(times: list[float]) -> None:
    times += [10.0] * 99 + [1000.0]
    profile = measure(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 100, 3)
    assert not profile.busy
    assert profile.latency_ms.mean == pytest.approx(19.9)
    assert profile.latency_ms.std == pytest.approx(99.0)  # of a sample: n - 1
    assert profile.latency_ms.p50 == profile.latency_ms.p95 == 10.0 < profile.latency_ms.p99
    assert profile.images_per_second == pytest.approx(2 / 10e-3)


def test_a_busy_machine_is_measured_again_and_the_calmest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([[10.0] * 8 + [50.0] * 2, [10.0] * 8 + [30.0] * 2, [10.0] * 8 + [40.0] * 2, [10.0] * 10])

    def timed(images: Tensor, stages: Sequence[Any], iterations: int, device: torch.device) -> Any:
        return np.array(next(rounds))[:, None] / len(stages) * np.ones((1, len(stages)))

    for module in (latency, throughput):
        monkeypatch.setattr(module, "time_passes", timed)
    profile = measure(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 10, 3)
    assert profile.busy and profile.latency_ms.p99 < 31
    assert profile.images_per_second == pytest.approx(200)  # the fourth round: three attempts came before


def test_a_single_iteration_has_no_spread(times: list[float]) -> None:
    times += [10.0]
    latency = measure(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 1, 3).latency_ms
    assert (latency.mean, latency.std, latency.p99, latency.iterations) == (10.0, 0.0, 10.0, 1)


def test_every_iteration_is_one_pass_after_the_warmup() -> None:
    passes: list[int] = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            passes.append(len(x))
            return x.mean(dim=(2, 3))

    options = ProfileOptions(iterations=7, warmup=3, batch_sizes=[2])
    profile_model(
        Counting(),
        nn.Linear(3, 2),
        input_size=16,
        precision="float32",
        throughput_batch_size=5,
        options=options,
        device=CPU,
    )
    assert passes.count(2) in {10, 20, 30}  # measured again while the machine is busy
    assert passes.count(5) >= 2  # an untimed one and the timed ones
    assert passes.count(1) == 1  # MACs are of one image


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_timed_by_its_own_clock() -> None:
    device = torch.device("cuda")
    backbone = load_backbone(ModelOptions(backbone="resnet18", input_size=64, pretrained=False), device=device)
    profile = profile_model(
        backbone,
        build_head((512, 16, 4), 0.2),
        input_size=64,
        precision="float32",
        throughput_batch_size=64,
        options=ProfileOptions(iterations=20, warmup=5),
        device=device,
    )
    assert profile.latency_ms.mean > 0 and profile.images_per_second > 0
    assert profile.device == torch.cuda.get_device_name(device)
    assert profile.peak_memory_kind == "device memory allocated"
    assert profile.peak_memory_bytes > 4 * profile.params_backbone

"""Packed linear maps against torch's own."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from wmplan.models import linear
from wmplan.models.linear import ONEDNN, Linear, PackedWeight, gelu

needs_onednn = pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def packed_at_any_size(monkeypatch):
    """As on a processor with AVX-512, whatever this one is."""
    monkeypatch.setattr(linear, "NARROW", ())


class Operations(TorchDispatchMode):
    """The names of the operations that run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def close(found, wanted):
    return (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (0, 7), (5,), (300, 1), (2, 3, 65)])
def test_the_same_as_torchs_map(shape, bias):
    torch.manual_seed(0)
    layer, x = Linear(48, 130, bias=bias), torch.randn(*shape, 48)
    wanted = F.linear(x, layer.weight, layer.bias)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = layer(x)
            some = layer(x, slice(100, None)), layer(x, slice(30))
        assert found.shape == wanted.shape
        assert found.numel() == 0 or close(found, wanted)
        assert some[0].shape == (*shape, 30) and torch.allclose(some[0], wanted[..., 100:], atol=1e-5)
        assert torch.allclose(some[1], wanted[..., :30], atol=1e-5)


@needs_onednn
def test_weights_are_packed_once_and_only_without_gradients():
    layer, x = Linear(8, 8), torch.randn(3, 8)
    with torch.no_grad(), Operations() as first:
        layer(x)
    with torch.no_grad(), Operations() as second:
        layer(x)
    with Operations() as learning:
        layer(x)
    assert any("_reorder_linear_weight" in name for name in first.names)
    assert [name for name in second.names if "mkldnn" in name] == ["mkldnn._linear_pointwise.default"]
    assert not any("reorder" in name for name in second.names)
    assert not any("mkldnn" in name for name in learning.names)


def change(layer, how):
    with torch.no_grad():
        if how == "in place":
            layer.weight.mul_(2)
        elif how == "bias":
            layer.bias.add_(1)
        elif how == "loaded":
            layer.load_state_dict(Linear(8, 6).state_dict())
        elif how == "assigned":
            layer.load_state_dict(Linear(8, 6).state_dict(), assign=True)
        elif how == "stepped":
            torch.optim.SGD(layer.parameters(), 0.1).step()
        else:
            layer.weight.data = torch.randn(6, 8)


@pytest.mark.parametrize("how", ["in place", "bias", "loaded", "assigned", "stepped", "new data"])
def test_new_weights_are_noticed(how):
    torch.manual_seed(0)
    layer, x = Linear(8, 6), torch.randn(4, 8)
    layer(x).sum().backward()
    with torch.no_grad():
        before = layer(x)
        change(layer, how)
        assert not torch.allclose(layer(x), before, atol=1e-3)
        assert close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_other_types_and_devices_are_torchs():
    layer, x = Linear(8, 6), torch.randn(4, 8)
    with torch.no_grad():
        layer(x)
        layer.double()
        assert torch.equal(layer(x.double()), F.linear(x.double(), layer.weight, layer.bias))
        layer.to(torch.bfloat16)
        assert layer(x.bfloat16()).dtype == torch.bfloat16
        assert layer.to("meta")(x.to("meta").bfloat16()).shape == (4, 6)


def test_what_does_not_fit_is_said_by_torch():
    layer = Linear(8, 6)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            layer(torch.randn(4, 7))
        with pytest.raises(RuntimeError, match="dtype"):
            layer(torch.randn(4, 8).double())


def test_a_layer_in_use_can_be_copied_and_saved():
    layer, x = Linear(8, 6), torch.randn(4, 8)
    with torch.no_grad():
        wanted = layer(x)
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
            assert torch.equal(other(x), wanted)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_operations_are_counted():
    layer, x = Linear(8, 6), torch.randn(4, 5, 8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * 4 * 5 * 8 * 6


def test_gelu_keeps_what_a_gradient_needs():
    x = torch.randn(7, requires_grad=True)
    (slope,) = torch.autograd.grad(gelu(x).sum(), x)
    assert torch.allclose(slope, torch.autograd.functional.jacobian(F.gelu, x).diagonal())
    with torch.no_grad():
        y = x.detach().clone()
        assert torch.equal(gelu(y), F.gelu(x))


def test_a_packed_weight_is_a_linear_map():
    weight, bias, x = torch.randn(6, 8), torch.randn(6), torch.randn(3, 8)
    assert close(PackedWeight(weight, bias)(x), F.linear(x, weight, bias))
    assert torch.equal(PackedWeight(weight.double())(x.double()), F.linear(x.double(), weight.double()))


@needs_onednn
def test_rounded_inputs_are_multiplied_by_a_weight_that_is_rounded_once():
    torch.manual_seed(0)
    layer, x = Linear(48, 130), torch.randn(7, 48)
    wanted = F.linear(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())
    given = x.bfloat16()
    with torch.no_grad(), Operations() as first:
        assert torch.equal(layer(given), wanted)
    with torch.no_grad(), Operations() as second:
        assert torch.equal(layer(given), wanted)
    assert sum("reorder" in name for name in first.names) == 1 and not any("reorder" in name for name in second.names)
    with torch.no_grad():
        assert close(layer(x), F.linear(x, layer.weight, layer.bias))  # the exact weight is kept beside it
        layer.weight.mul_(2)
        assert torch.equal(layer(x.bfloat16()), F.linear(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16()))


def rounding(wanted):
    """Half a unit in the last of bfloat16's eight bits, with a little for sums in another order."""
    return 2.0**-8 * wanted.abs() + 1e-6


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [slice(None), slice(5, 40)])
def test_packed_bfloat16_is_the_exact_product_of_rounded_numbers_rounded_once(bias, rows):
    torch.manual_seed(0)
    layer, x = Linear(48, 130, bias=bias).to(torch.bfloat16), torch.randn(3, 7, 48).bfloat16()
    exact = x.double() @ layer.weight[rows].double().T + (layer.bias[rows].double() if bias else 0.0)
    with torch.inference_mode(), Operations() as first:
        found = layer(x, rows)
    with torch.inference_mode(), Operations() as second:
        assert torch.equal(layer(x, rows), found)
    assert found.dtype == torch.bfloat16
    assert bool(((found.double() - exact).abs() <= rounding(exact)).all())
    assert any("reorder" in name for name in first.names) and not any("reorder" in name for name in second.names)
    unpacked = F.linear(x, layer.weight[rows], layer.bias[rows] if bias else None)
    assert bool(((found - unpacked).double().abs() <= 2 * rounding(exact)).all())


def test_a_layer_that_rounds_gives_float32():
    torch.manual_seed(0)
    layer, x = Linear(48, 130), torch.randn(7, 48)
    exact = x.bfloat16().double() @ layer.weight.bfloat16().double().T + layer.bias.bfloat16().double()
    layer.rounds = True
    with torch.no_grad():
        found = layer(x)
        assert found.dtype == torch.float32 and bool(((found.double() - exact).abs() <= rounding(exact)).all())
        assert torch.equal(layer(x.double().float(), slice(9)), found[:, :9])
        layer.rounds = False
        assert close(layer(x), F.linear(x, layer.weight, layer.bias))
    layer.rounds = True
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))  # training is another matter: precision=


def test_torch_compile_takes_packed_bfloat16():
    torch.manual_seed(0)
    layer, x = Linear(16, 8).to(torch.bfloat16), torch.randn(3, 16).bfloat16()
    with torch.no_grad():
        assert torch.equal(torch.compile(layer, backend="aot_eager")(x), layer(x))


@needs_onednn
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_small_weights_are_not_packed_without_avx_512(monkeypatch, dtype):
    monkeypatch.setattr(linear, "NARROW", (torch.backends.cpu.get_cpu_capability(),))
    layer, x = Linear(48, 130).to(dtype), torch.randn(7, 48).to(dtype)
    with torch.no_grad(), Operations() as small:
        found = layer(x)
        weight = PackedWeight(layer.weight, layer.bias)(x)
    monkeypatch.setattr(linear, "SMALL", 48 * 130 - 1)
    with torch.no_grad(), Operations() as large:
        packed = layer(x)
    assert not any("mkldnn" in name for name in small.names) and any("mkldnn" in name for name in large.names)
    for one in (found, weight):
        assert one.dtype == dtype and bool(((one - packed).double().abs() <= 2 * rounding(packed.double())).all())

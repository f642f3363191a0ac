"""What a rollout holds in memory, counted tensor by tensor as they come and go."""

import gc
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wmplan.models.released.vjepa2_ac import VJepa2AC


class LivePeak(TorchDispatchMode):
    """The most bytes that tensors made inside held at one time."""

    def __init__(self):
        super().__init__()
        self.holders, self.live, self.peak = {}, 0, 0

    def release(self, pointer, size):
        self.holders[pointer] -= 1
        if not self.holders[pointer]:
            del self.holders[pointer]
            self.live -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                pointer, size = storage.data_ptr(), storage.nbytes()
                if pointer not in self.holders:
                    self.holders[pointer] = 0
                    self.live += size
                self.holders[pointer] += 1
                weakref.finalize(tensor, self.release, pointer, size)
        self.peak = max(self.peak, self.live)
        return out


def peak(model, samples, horizon, bound, time=1):
    size = model.spec.latent_shape[0]
    context, past = torch.zeros(1, time, size), torch.zeros(1, time - 1, 7)
    model.max_batch_bytes = bound
    with torch.inference_mode():
        model.rollout_last(context, torch.zeros(1, 1, 1, 7), past if time > 1 else None)  # packs the weights
    gc.collect()
    with torch.inference_mode(), LivePeak() as counter:
        model.rollout_last(context, torch.zeros(1, samples, horizon, 7), past if time > 1 else None)
    return counter.peak


@pytest.fixture(scope="module")
def model(parity):
    reference = parity("vjepa2_ac")
    return VJepa2AC.from_state_dict(reference.weights, reference.architecture)


@pytest.mark.parametrize(("horizon", "time"), [(1, 1), (3, 1), (2, 3)])
def test_memory_is_bounded_by_the_chunk_and_the_result(model, horizon, time):
    result = 4 * model.spec.latent_shape[0]
    bound = 8 * model.candidate_bytes(1, horizon - 1)
    few, many = (peak(model, samples, horizon, bound, time) for samples in (16, 64))
    assert many - few <= 48 * 3 * result  # only the result grows, held in parts and joined
    assert many <= 1.5 * bound + 64 * 3 * result


def test_800_candidates_at_the_real_size_fit_16_gb():
    """By arithmetic, with the bound that the test above checks at a small size."""
    sizes = {
        "img_size": 256,
        "patch_size": 16,
        "tubelet_size": 2,
        "num_frames": 64,
        "encoder": {"embed_dim": 1408, "depth": 40, "num_heads": 22, "mlp_hidden_dim": 6144},
        "predictor": {"predictor_embed_dim": 1024, "depth": 24, "num_heads": 16},
    }
    with torch.device("meta"):
        model = VJepa2AC.build(sizes).to(torch.bfloat16)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    assert 2e9 < weights < 3e9  # 1 B + 0.3 B parameters of 2 bytes
    result = 800 * 4 * model.spec.latent_shape[0]
    chunk = max(model.max_batch_bytes, model.candidate_bytes(1, 0))
    assert weights + 1.5 * chunk + 3 * result < 16e9

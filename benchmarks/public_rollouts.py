"""How fast rollouts of other labs' models are: against stable-worldmodel's own, and against a loop that shares nothing.

    python benchmarks/public_rollouts.py [--samples 300] [--runs 3] [--threads 2]

Times are medians of runs that alternate between the sides. Comparing LeWM needs stable-worldmodel in the same
environment; both sides start from the same encoded frames.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wmplan.bench.plain import MaskedMemory
from wmplan.models.released.lewm import LeWM
from wmplan.models.released.pose import integrate
from wmplan.models.released.vjepa2_ac import VJepa2AC

LEWM = {
    "image_size": 224,
    "patch_size": 14,
    "encoder": {"hidden_size": 192, "depth": 12, "num_heads": 3, "intermediate_size": 768},
    "projector": {"dims": [192, 2048, 192]},
    "pred_proj": {"dims": [192, 2048, 192]},
    "action_encoder": {"input_dim": 10},
    "predictor": {"num_frames": 3, "input_dim": 192, "depth": 6, "heads": 16, "dim_head": 64, "mlp_dim": 2048},
}
VJEPA2_AC = {
    "img_size": 256,
    "patch_size": 16,
    "num_frames": 64,
    "encoder": {"embed_dim": 1408, "depth": 1, "num_heads": 22, "mlp_hidden_dim": 6144},
    "predictor": {"predictor_embed_dim": 1024, "depth": 2, "num_heads": 16},
}


def compare(name: str, theirs: Callable[[], Tensor], ours: Callable[[], Tensor], runs: int) -> None:
    """Print the median times of alternating runs, their ratio and the largest difference of what they give."""
    wanted, found = theirs(), ours()  # warm up
    times: tuple[list[float], list[float]] = [], []
    for _ in range(runs):
        for side, run in zip(times, (theirs, ours), strict=True):
            begun = time.perf_counter()
            run()
            side.append(time.perf_counter() - begun)
    before, after = map(statistics.median, times)
    difference = (wanted - found).abs().max().item()
    print(
        f"{name}: {before:.3f} s against {after:.3f} s, {before / after:.2f} times as fast, differ by {difference:.1e}",
        flush=True,
    )


def lewm(samples: int, runs: int) -> None:
    """LeWM's released size against stable-worldmodel's rollout, from one and from three frames."""
    from stable_worldmodel.wm.lewm import LeWM as TheirLeWM
    from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor

    sizes: dict[str, Any] = LEWM["predictor"]  # type: ignore[assignment]
    predictor = Predictor(**sizes, hidden_dim=192, output_dim=192)
    projectors = [MLP(192, 2048, 192, norm_fn=torch.nn.BatchNorm1d) for _ in range(2)]
    peer = TheirLeWM(torch.nn.Identity(), predictor, Embedder(10, 10, 192), *projectors).eval()
    for parameter in peer.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    model = LeWM.build(LEWM).eval()
    model.load_state_dict(peer.state_dict(), strict=False)  # all but the encoder, which neither uses here
    with torch.inference_mode():
        compare_lewm(peer, model, samples, runs)


def compare_lewm(peer: Any, model: LeWM, samples: int, runs: int) -> None:
    """Both sides' rollouts from the same latents."""
    for frames, horizon in ((1, 5), (3, 5), (1, 3), (3, 1)):
        context, actions = torch.randn(1, frames, 192), torch.randn(1, samples, frames - 1 + horizon, 10)
        actions[:, :, : frames - 1] = actions[:, :1, : frames - 1]

        def theirs(context: Tensor = context, actions: Tensor = actions, frames: int = frames) -> Tensor:
            info = {
                "pixels": torch.zeros(1, samples, frames, 1, 1, 1),
                "emb": context[:, None].expand(1, samples, frames, 192),
            }
            predicted: Tensor = peer.rollout(info, actions)["predicted_emb"][:, :, frames:]
            return predicted

        def ours(context: Tensor = context, actions: Tensor = actions, frames: int = frames) -> Tensor:
            past = actions[:, 0, : frames - 1] if frames > 1 else None
            return model.rollout(context, actions[:, :, frames - 1 :], past)

        compare(f"LeWM, {samples} candidates, {frames} frame(s), horizon {horizon}", theirs, ours, runs)


@torch.enable_grad()  # torch's own linear maps: ours pack weights where no gradient is asked for
def plain_step(model: VJepa2AC, latents: Tensor, actions: Tensor) -> Tensor:
    """The next latent (n, *latent) from all frames (n, f, *latent), each of them carried through all layers."""
    tokens, poses = model.split(latents)
    memory = MaskedMemory(model.frame_tokens, keep=False)
    predicted = model.predictor(tokens, poses, actions, 0, memory, newest_only=False)[:, -1]
    return torch.cat([model.normalise_tokens(predicted).flatten(1), integrate(poses[:, -1], actions[:, -1])], dim=-1)


def vjepa2_ac(samples: int, runs: int) -> None:
    """V-JEPA 2-AC's predictor at two layers against a loop that repeats the context for each candidate."""
    model = VJepa2AC.build(VJEPA2_AC).eval()
    with torch.inference_mode():
        compare_vjepa2_ac(model, samples, runs)


def compare_vjepa2_ac(model: VJepa2AC, samples: int, runs: int) -> None:
    """The shared rollout and the loop."""
    for frames, horizon in ((1, 1), (1, 3), (4, 1), (4, 2)):
        tokens = torch.nn.functional.layer_norm(torch.randn(1, frames, 256, 1408), (1408,))
        context = model.encode_tokens(tokens, 0.1 * torch.randn(1, frames, 7))
        actions = 0.05 * torch.randn(1, samples, frames - 1 + horizon, 7)
        actions[:, :, : frames - 1] = actions[:, :1, : frames - 1]

        def loop(context: Tensor = context, actions: Tensor = actions, frames: int = frames) -> Tensor:
            latents = context.expand(samples, -1, -1)
            for step in range(frames, actions.shape[2] + 1):
                after = plain_step(model, latents, actions[0, :, :step])
                latents = torch.cat([latents, after[:, None]], dim=1)
            return latents[None, :, frames:]

        def ours(context: Tensor = context, actions: Tensor = actions, frames: int = frames) -> Tensor:
            past = actions[:, 0, : frames - 1] if frames > 1 else None
            return model.rollout(context, actions[:, :, frames - 1 :], past)

        name = f"V-JEPA 2-AC, 2 layers, {samples} candidates, {frames} frame(s), horizon {horizon}"
        compare(name, loop, ours, runs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--patch-samples", type=int, default=16, help="on V-JEPA 2-AC; 0 leaves it out")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.patch_samples:
        vjepa2_ac(options.patch_samples, options.runs)
    try:
        lewm(options.samples, options.runs)
    except ImportError:
        print("stable-worldmodel is not installed here: LeWM is not compared")

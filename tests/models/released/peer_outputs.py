"""Run by the python of an environment with stable-worldmodel: random models of real size, and what they compute.

python peer_outputs.py FOLDER writes FOLDER/NAME/{weights.pt,config.json} and NAME.outputs for lewm, prejepa, and PLDM
as its training script builds it, with layer norms, and without projectors.
"""

import json
import sys
from pathlib import Path

import torch
from stable_worldmodel.wm.lewm import LeWM
from stable_worldmodel.wm.lewm.module import MLP, Predictor
from stable_worldmodel.wm.lewm.module import Embedder as LeWMEmbedder
from stable_worldmodel.wm.pldm import PLDM
from stable_worldmodel.wm.prejepa import PreJEPA
from stable_worldmodel.wm.prejepa.module import CausalPredictor, Embedder


class NoEncoder(torch.nn.Module):
    """Stands in where transformers is not installed: the rollout starts from given embeddings."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))


def vit():
    try:
        from transformers import ViTConfig, ViTModel
    except ImportError:
        return NoEncoder()
    sizes = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
    return ViTModel(ViTConfig(**sizes, image_size=224, patch_size=14), add_pooling_layer=False, use_mask_token=False)


def save(folder, model, config, outputs):
    folder.mkdir(parents=True)
    torch.save(model.state_dict(), folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(outputs, folder.with_suffix(".outputs"))


def randomise(model):
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return model.eval()


def lewm(folder):
    sizes = {"num_frames": 3, "depth": 6, "heads": 16, "mlp_dim": 2048, "dim_head": 64}
    predictor = Predictor(**sizes, input_dim=192, hidden_dim=192, output_dim=192)
    projectors = [MLP(192, 2048, 192, norm_fn=torch.nn.BatchNorm1d) for _ in range(2)]
    model = randomise(LeWM(vit(), predictor, LeWMEmbedder(10, 10, 192), *projectors))
    outputs = {}
    if not isinstance(model.encoder, NoEncoder):
        frames = torch.randint(0, 256, (1, 1, 224, 224, 3), dtype=torch.uint8)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = ((frames / 255 - mean) / std).movedim(-1, 2)
        outputs |= {"frames": frames, "emb": model.encode({"pixels": pixels})["emb"]}
    for time in (1, 3):
        context, actions = torch.randn(1, time, 192), torch.randn(1, 3, time - 1 + 5, 10)
        actions[:, :, : time - 1] = actions[:, :1, : time - 1]
        info = {"pixels": torch.zeros(1, 3, time, 1, 1, 1), "emb": context[:, None].expand(1, 3, time, 192)}
        predicted = model.rollout(info, actions)["predicted_emb"][:, :, time:]
        outputs[f"from{time}"] = {"context": context, "actions": actions, "predicted": predicted}
    goal = torch.randn(1, 1, 192)
    info = {"predicted_emb": predicted, "goal_emb": goal[:, None]}
    outputs |= {"goal": goal, "cost": model.criterion(info)}
    config = {"encoder": {"size": "tiny", "image_size": 224, "patch_size": 14}, "predictor": sizes}
    save(folder, model, config, outputs)


PLDM_SIZES = {"num_frames": 3, "depth": 6, "heads": 16, "mlp_dim": 2048, "dim_head": 64, "hidden_dim": 192}


def pldm_script(folder):
    """As the training script builds it for a latent narrower than its ViT: the predictor gives what pred_proj maps."""
    projectors = [MLP(192, 2048, 128, norm_fn=torch.nn.BatchNorm1d) for _ in range(2)]
    pldm(folder, Predictor(**PLDM_SIZES, input_dim=128, output_dim=192), LeWMEmbedder(10, 10, 128), projectors)


def pldm_layer(folder):
    predictor = Predictor(**PLDM_SIZES, input_dim=192, output_dim=192)
    pldm(folder, predictor, LeWMEmbedder(10, 10, 192), [MLP(192, 1024, 192) for _ in range(2)])


def pldm_bare(folder):
    pldm(folder, Predictor(**{**PLDM_SIZES, "hidden_dim": 160}, input_dim=192), LeWMEmbedder(10, 10, 192), [])


def pldm(folder, predictor, embedder, projectors):
    model = randomise(PLDM(vit(), predictor, embedder, *projectors))
    outputs = {}
    if not isinstance(model.encoder, NoEncoder):
        frames = torch.randint(0, 256, (2, 1, 224, 224, 3), dtype=torch.uint8)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels, goal = ((frames / 255 - mean) / std).movedim(-1, 2)[:, None].expand(-1, 3, -1, -1, -1, -1)[:, None]
        actions = torch.randn(1, 3, 5, 10)
        info = {"pixels": pixels, "goal": goal, "action": torch.zeros(1, 3, 1, 10)}
        cost = model.get_cost(info, actions)
        outputs = {"frames": frames, "actions": actions, "predicted": info["predicted_emb"][:, :, 1:], "cost": cost}
    sizes = {name: PLDM_SIZES[name] for name in ("heads", "dim_head")}
    save(folder, model, {"encoder": {"image_size": 224, "patch_size": 14}, "predictor": sizes}, outputs)


def prejepa(folder):
    sizes = {"num_patches": 196, "num_frames": 3, "depth": 6, "heads": 16, "mlp_dim": 2048, "dim_head": 64}
    names = {"proprio": 4, "action": 10}
    extras = torch.nn.ModuleDict({name: Embedder(in_chans=size, emb_dim=10) for name, size in names.items()})
    model = randomise(PreJEPA(NoEncoder(), CausalPredictor(**sizes, dim=404), extras, history_size=3))
    visual, proprio, actions = torch.randn(1, 1, 196, 384), torch.randn(1, 1, 4), torch.randn(1, 2, 4, 10)
    states = [extras["proprio"](proprio), extras["action"](actions[:, 0, :1])]
    emb = torch.cat([visual, *(state.unsqueeze(2).expand(-1, -1, 196, -1) for state in states)], dim=-1)
    known = {"emb": emb[:, None].expand(1, 2, -1, -1, -1), "pixels_emb": visual[:, None].expand(1, 2, -1, -1, -1)}
    known |= {f"{name}_emb": state[:, None].expand(1, 2, -1, -1) for name, state in zip(names, states, strict=True)}
    marks = {"id": torch.zeros(1, 1), "step_idx": torch.zeros(1, 1)}
    model._init_cached_info = known | marks  # its own cache of the encoded start, so that no backbone is needed
    info = {name: mark[:, None].expand(1, 2, 1) for name, mark in marks.items()}
    info["pixels"] = torch.zeros(1, 2, 1, 1, 1, 1)
    predicted = model.rollout(info, actions)["predicted_embedding"][:, :, 1:]
    outputs = {"visual": visual, "proprio": proprio, "actions": actions, "predicted": predicted}
    config = {"encoder": {"name": "dinov2_small"}, "predictor": sizes, "history_size": 3}
    save(folder, model, config, outputs)


if __name__ == "__main__":
    torch.manual_seed(0)
    with torch.inference_mode():
        for build in (lewm, prejepa, pldm_script, pldm_layer, pldm_bare):
            build(Path(sys.argv[1]) / build.__name__)

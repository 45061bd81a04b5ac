"""Open weights in the format of Hugging Face's `transformers`, from a local folder, as our own modules.

`transformers` reads the files (config.json; model.safetensors, whole or in shards, or pytorch_model.bin through torch's
restricted unpickler): nothing in a folder is executed. We rename what it read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.clip_text import ClipText, ClipTextConfig
from unsay.models.region_encoder import TransformerConfig
from unsay.models.vit import RegionViT, VisionTransformer, ViTConfig

M = TypeVar("M", bound=nn.Module)
CLIP = ("clip",)
SELF_SUPERVISED = ("vit", "dinov2", "dinov2_with_registers")
"""Values of `model_type` in config.json: DINO's weights are stored as a plain ViT."""
READ = ("*.json", "*.safetensors", "pytorch_model*.bin", "merges.txt")
"""What `find_folder` downloads of a hub repository when it is asked to."""
_CLIP_PIXELS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET_PIXELS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_RENAMED = (
    (r"^(?:encoder\.)?layers?\.(\d+)\.", r"layers.\1."),
    (r"\.(?:self_attn|attention)\.(?:attention\.)?(query|key|value)\.", r".\1."),
    (r"\.(?:self_attn|attention)\.q_proj\.", ".query."),
    (r"\.(?:self_attn|attention)\.k_proj\.", ".key."),
    (r"\.(?:self_attn|attention)\.v_proj\.", ".value."),
    (r"\.(?:self_attn\.out_proj|attention\.o_proj|attention\.output\.dense)\.", ".mix."),
    (r"\.(?:layer_norm1|layernorm_before)\.", ".norm1."),
    (r"\.(?:layer_norm2|layernorm_after)\.", ".norm2."),
    (r"\.(?:mlp\.fc1|intermediate\.dense)\.", ".up."),
    (r"\.(?:mlp\.fc2|output\.dense)\.", ".down."),
    (r"\.layer_scale(\d)\.lambda1$", r".scale\1"),
    (r"^embeddings\.(?:class_embedding|cls_token)$", "class_token"),
    (r"^embeddings\.register_tokens$", "registers"),
    (r"^embeddings\.(?:patch_embedding|patch_embeddings\.projection)\.", "patches."),
    (r"^embeddings\.(?:position_embedding\.weight|position_embeddings)$", "positions"),
    (r"^embeddings\.token_embedding\.", "words."),
    (r"^pre_layrnorm\.", "pre_norm."),
    (r"^(?:post_layernorm|layernorm|final_layer_norm)\.", "norm."),
)
"""Names of tensors in the several releases of `transformers` -> ours, applied in this order."""
_UNUSED = r"mask_token|pooler|position_ids"
_OPTIONAL = r"^patches\.bias$|\.(query|key|value)\.bias$|^registers$"


@dataclass(frozen=True, eq=False)
class Clip:
    """Both towers of a CLIP model, frozen; `temperature` is what its cosines are divided by before a softmax."""

    regions: RegionViT
    text: ClipText
    temperature: float


@dataclass(frozen=True)
class Pixels:
    """How a model's pixels are prepared: (x - mean) / deviation per channel, x in 0..255."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


def report_nothing(*, offline: bool) -> None:
    """Keep the hub's client from reporting use, and, `offline`, from any request: called before each use of it.

    It reads its environment once, as it is imported, which another package may have done before: so both are set.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1" if offline else "0"
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.HF_HUB_OFFLINE = offline


def find_folder(source: str, *, download: bool = False) -> Path:
    """The local folder that `source` names; a hub name is fetched, into the hub's own cache, only with `download`.

    Raises `BadInput` where there is no such folder, or the hub does not give it.
    """
    if Path(source).is_dir():
        return Path(source)
    if not download:
        raise BadInput(f"no folder {source!r}: give the folder of downloaded weights, or --download for a hub name")
    report_nothing(offline=False)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=list(READ)))
    except Exception as error:  # the hub's, the network's and the file system's own
        raise BadInput(f"cannot download {source!r}: {_brief(error)}; give a local folder instead") from error


def read_config(folder: Path, supported: tuple[str, ...]) -> dict[str, Any]:
    """config.json of a folder, as it stands. Raises `BadInput` unless its `model_type` is a `supported` one."""
    path = folder / "config.json"
    if not path.is_file():
        raise BadInput(f"{folder} has no config.json: give a folder in transformers format (model.save_pretrained)")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON ({_brief(error)}): download it again") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in supported:
        raise BadInput(f"{folder} holds a model of type {kind!r}; supported here: {', '.join(supported)}")
    return dict(config)


def load_clip(folder: Path, start: int | None = None) -> Clip:
    """CLIP with region tokens from layer `start` on (None: the middle), in fp32. Raises `BadInput`."""
    read_config(folder, CLIP)
    report_nothing(offline=True)
    from transformers import CLIPModel

    model = _read(CLIPModel, folder)
    vision = model.config.vision_config
    vit = VisionTransformer(ViTConfig(_layers(vision, start), *_grid(vision, folder), pre_norm=True))
    _fill(vit, model.vision_model.state_dict())
    projection = nn.Linear(vision.hidden_size, model.config.projection_dim, bias=False)
    projection.load_state_dict(model.visual_projection.state_dict())
    return Clip(_frozen(RegionViT(vit, projection)), _text_tower(model), float((-model.logit_scale.detach()).exp()))


def load_self_supervised(folder: Path) -> VisionTransformer:
    """DINO, DINOv2, or DINOv2 with registers, in fp32. Raises `BadInput`."""
    stated = read_config(folder, SELF_SUPERVISED)
    if stated.get("use_swiglu_ffn"):
        raise BadInput(f"{folder} has SwiGLU layers (DINOv2 giant), which are not supported: take a smaller DINOv2")
    report_nothing(offline=True)
    import transformers

    kinds = {"vit": "ViTModel", "dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}
    pooler = {"add_pooling_layer": False} if stated["model_type"] == "vit" else {}
    model = _read(getattr(transformers, kinds[stated["model_type"]]), folder, **pooler)
    registers = getattr(model.config, "num_register_tokens", 0)
    layers, grid = _layers(model.config), _grid(model.config, folder)
    antialias = stated["model_type"] == "dinov2_with_registers"
    vit = VisionTransformer(ViTConfig(layers, *grid, registers=registers, antialias=antialias))
    _fill(vit, model.state_dict())
    return _frozen(vit)


def read_pixels(folder: Path) -> Pixels:
    """The mean and deviation that preprocessor_config.json names; without that file, the model type's usual ones."""
    kind = read_config(folder, CLIP + SELF_SUPERVISED)["model_type"]
    mean, deviation = _CLIP_PIXELS if kind in CLIP else _IMAGENET_PIXELS
    path = folder / "preprocessor_config.json"
    if path.is_file():
        try:
            stated = json.loads(path.read_bytes())
            mean, deviation = stated.get("image_mean", mean), stated.get("image_std", deviation)
            return Pixels(_in_bytes(mean), _in_bytes(deviation))
        except (ValueError, TypeError, AttributeError) as error:
            raise BadInput(f"{path} does not state three means and deviations ({_brief(error)}): remove it") from error
    return Pixels(_in_bytes(mean), _in_bytes(deviation))


def read_tokenizer(folder: Path, positions: int) -> str:
    """CLIP's tokenizer as tokenizer.json, cut to `positions` tokens, without padding. Raises `BadInput`."""
    whole = (folder / "tokenizer.json").is_file()
    if not whole and not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        raise BadInput(f"{folder} has no tokenizer.json (nor vocab.json and merges.txt): download it as well")
    try:
        tokenizer = _tokenizer_file(folder) if whole else _tokenizer_of_vocabulary(folder)
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInput(f"the tokenizer in {folder} cannot be read ({_brief(error)}): download it again") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(positions)
    return str(tokenizer.to_str())


def _tokenizer_file(folder: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _tokenizer_of_vocabulary(folder: Path) -> Any:
    report_nothing(offline=True)
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer


def _read(kind: Any, folder: Path, **settings: Any) -> Any:
    """`kind.from_pretrained` on local files alone. Raises `BadInput` for files that are missing, damaged or partial."""
    settings |= {"local_files_only": True, "trust_remote_code": False, "weights_only": True, "dtype": torch.float32}
    try:
        with _quiet():
            model, found = kind.from_pretrained(folder, output_loading_info=True, **settings)
    except Exception as error:  # whatever the bytes provoke in transformers, safetensors or torch
        raise BadInput(f"the weights in {folder} cannot be read ({_brief(error)}): download them again") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise BadInput(f"the weights in {folder} lack {len(missing)} tensors, {missing[0]} first: download them again")
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """No reports and no progress bars of the library's while it reads: what is wrong, we say."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _layers(config: Any, start: int | None = None) -> TransformerConfig:
    layers = config.num_hidden_layers
    return TransformerConfig(
        width=config.hidden_size,
        heads=config.num_attention_heads,
        layers=layers,
        hidden=getattr(config, "intermediate_size", None) or int(config.hidden_size * config.mlp_ratio),
        start=layers // 2 if start is None else start,
        activation=config.hidden_act,
        eps=config.layer_norm_eps,
        layer_scale=hasattr(config, "layerscale_value"),
    )


def _grid(config: Any, folder: Path) -> tuple[int, int]:
    """Pixels a patch, patches a side."""
    side, patch = config.image_size, config.patch_size
    if not isinstance(side, int) or not isinstance(patch, int) or side % patch or config.num_channels != 3:
        raise BadInput(f"{folder} reads pixels {side} in patches {patch}; supported: squares, RGB, whole patches")
    return patch, side // patch


def _text_tower(model: Any) -> ClipText:
    config = model.config.text_config
    if not isinstance(config.eos_token_id, int):
        raise BadInput(f"the text part has the end tokens {config.eos_token_id!r}; supported: a single one")
    tower = ClipText(
        ClipTextConfig(
            _layers(config),
            vocabulary=config.vocab_size,
            positions=config.max_position_embeddings,
            end=config.eos_token_id,
            channels=model.config.projection_dim,
        )
    )
    _fill(tower, model.text_model.state_dict() | {"projection.weight": model.text_projection.weight})
    return _frozen(tower)


def _fill(module: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Load tensors under their `transformers` names; biases and registers that a model does without are zero, or none.

    Raises `BadInput` for a tensor that has no place here: the model is then not what its configuration says.
    """
    own = module.state_dict()
    places = {name.removeprefix("transformer."): name for name in own}
    renamed = {_our_name(name): value for name, value in stored.items() if not re.search(_UNUSED, name)}
    if unknown := sorted(set(renamed) - set(places)):
        raise BadInput(f"the weights have a tensor {unknown[0]!r}, which this kind of model lacks: take other weights")
    state = {places[name]: value.reshape(own[places[name]].shape) for name, value in renamed.items()}
    state |= {k: torch.zeros_like(v) for k, v in own.items() if k not in state and re.search(_OPTIONAL, k)}
    module.load_state_dict(state)


def _our_name(name: str) -> str:
    for pattern, ours in _RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def _frozen(module: M) -> M:
    return module.eval().requires_grad_(False)


def _in_bytes(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(v) * 255 for v in values)
    return red, green, blue


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

"""The networks of timm, whose weights are on the Hugging Face hub."""

from __future__ import annotations

import contextlib
import math
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope.card import Card
from convscope.errors import NetworkError
from convscope.preprocess import Preprocess
from convscope.zoo.library import External, import_library, import_torchvision

HUB_FILE = "model.safetensors"


class TimmNetwork(External):
    """A network of timm, such as ``timm:resnet18@a1_in1k``."""

    library = "timm"

    def _import(self) -> None:
        import_torchvision()  # which timm imports
        self.timm = import_library("timm")

    def _names(self) -> list[str]:
        return list(self.timm.list_models())

    def _check_name(self) -> None:
        name, dot, weights = self.name.partition(".")
        if dot and name in self._names():
            raise NetworkError(
                f"timm:{self.name}: write trained weights behind an '@', as timm:{name}@{weights}; timm:{name} has "
                "random ones"
            )
        super()._check_name()

    def _weights(self, weights: str) -> str:
        known = {cfg.tag or "": cfg for cfg in self.timm.models.get_arch_pretrained_cfgs(self.name).values()}
        known = {tag: cfg for tag, cfg in known.items() if cfg.has_weights}
        if weights == "DEFAULT" and known:
            default = self.timm.get_pretrained_cfg(self.name).tag or ""
            return default if default in known else next(iter(known))
        if weights not in known:
            raise self._unknown_weights(weights, [*known, *["DEFAULT"][: len(known)]])
        return weights

    @property
    def _cfg(self) -> Any:
        return self.timm.get_pretrained_cfg(f"{self.name}.{self.weights}" if self.weights else self.name)

    def _card(self) -> Card:
        cfg = self._cfg.to_dict()
        config = self.timm.data.resolve_data_config({}, pretrained_cfg=cfg)
        planes, height, width = config["input_size"]
        # As timm.data.create_transform does for evaluation.
        resize = [math.floor(side / config["crop_pct"]) for side in (height, width)]
        mode = config["crop_mode"]
        if mode not in ("center", "squash") or (mode == "center" and height != width):
            raise NetworkError(
                f"{self}: its images are cropped the way {mode!r} to {height} × {width} px, which convscope cannot; "
                "give preprocess= (--preprocess FILE)"
            )
        data = {"size": [height, width], "resize": resize[0] if mode == "center" else resize}
        data |= {"interpolation": config["interpolation"], "mean": list(config["mean"]), "std": list(config["std"])}
        data |= {} if planes == 3 else {"channels": planes}
        preprocess = Preprocess.from_json(data, str(self))
        wnids, names = self._classes(cfg) if self.weights else (None, None)
        output = "softmax" if self.timm.data.infer_imagenet_subset(cfg) or names else "real"  # else they are features
        return Card(preprocess, output, names, wnids)

    def _classes(self, cfg: dict[str, Any]) -> tuple[dict[str, int] | None, tuple[str, ...] | None]:
        """WordNet ids and names of the classes, which timm knows by their number."""
        if cfg.get("label_names"):
            said = cfg.get("label_descriptions") or {}
            return None, tuple(str(said.get(name, name)) for name in cfg["label_names"])
        subset = self.timm.data.infer_imagenet_subset(cfg)
        if subset is None:
            return None, None
        info = self.timm.data.ImageNetInfo(subset)
        names = tuple(info.label_descriptions())
        return {wnid: index for index, wnid in enumerate(info.label_names())}, names

    def _build(self, card: Card) -> nn.Module:
        sizes = {} if card.classes is None else {"num_classes": len(card.classes)}
        return self._made(in_chans=card.preprocess.planes, **sizes)

    def _trained(self) -> nn.Module:
        repository = self._cfg.hf_hub_id
        overlay = {"file": _from_hub(repository)} if repository else None
        return self._made(pretrained=True, pretrained_cfg=self.weights, pretrained_cfg_overlay=overlay)

    def _made(self, **options: Any) -> nn.Module:
        module: nn.Module = self.timm.create_model(self.name, **options)
        return module

    def _remedy(self) -> str:
        repository = self._cfg.hf_hub_id
        if not repository:
            path = Path(torch.hub.get_dir()) / "checkpoints" / self._cfg.url.rpartition("/")[2]
            return f"download {self._cfg.url} where there is a network, and put it at {path}"
        cache = Path(import_library("huggingface_hub.constants").HF_HUB_CACHE)
        folder = cache / ("models--" + repository.replace("/", "--"))
        return (
            f"where there is a network, run `hf download {repository} {HUB_FILE}` and copy the folder that it makes to "
            f"{folder}; or download {_hub_url(repository)} and give it with --arch timm:{self.name} and --preprocess"
        )


def _from_hub(repository: str) -> str:
    """The weights of a repository on the Hugging Face hub: from the cache, or downloaded into it."""
    hub = import_library("huggingface_hub")
    try:
        return str(hub.hf_hub_download(repository, HUB_FILE, local_files_only=True))
    except import_library("huggingface_hub.errors").LocalEntryNotFoundError:
        with contextlib.suppress(urllib.error.HTTPError):  # the hub answers; what it says is for its own client
            # Without a network this fails at once, where the client tries for half a minute.
            urllib.request.urlopen(_hub_url(repository), timeout=10).close()
        return str(hub.hf_hub_download(repository, HUB_FILE))


def _hub_url(repository: str) -> str:
    return str(import_library("huggingface_hub").hf_hub_url(repository, HUB_FILE))

"""The networks of torchvision that classify images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope.card import Card
from convscope.errors import NetworkError
from convscope.preprocess import Preprocess
from convscope.zoo.library import External, import_torchvision


class TorchvisionNetwork(External):
    """A network of torchvision, such as ``torchvision:resnet18@IMAGENET1K_V1``."""

    library = "torchvision"

    def _import(self) -> None:
        self.models = import_torchvision().models

    def _names(self) -> list[str]:
        return list(self.models.list_models(module=self.models))  # not those that detect, segment or see films

    def _weights(self, weights: str) -> str:
        known = self.models.get_model_weights(self.name)
        if weights not in known.__members__:
            raise self._unknown_weights(weights, known.__members__)
        return str(known[weights].name)

    def _entry(self) -> Any:
        return self.models.get_model_weights(self.name)[self.weights or "DEFAULT"]

    def _card(self) -> Card:
        entry = self._entry()
        transforms = entry.transforms()
        (size,), (resize,) = transforms.crop_size, transforms.resize_size
        data = {"size": [size, size], "resize": resize, "interpolation": transforms.interpolation.value}
        data |= {"mean": list(transforms.mean), "std": list(transforms.std)}
        classes = entry.meta.get("categories") if self.weights else None
        return Card(Preprocess.from_json(data, str(self)), "softmax", tuple(classes) if classes else None, None)

    def _build(self, card: Card) -> nn.Module:
        if card.preprocess.planes != 3:
            raise NetworkError(f"{self}: it takes 3 channels, and the preprocessing says {card.preprocess.planes}")
        sizes = {} if card.classes is None else {"num_classes": len(card.classes)}
        return self._made(weights=None, **sizes)

    def _trained(self) -> nn.Module:
        # Torchvision opens its files as pickles. This puts the file into the cache and refuses it if it holds code, so
        # that there is none in what is opened after that.
        self._entry().get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
        return self._made(weights=self._entry())

    def _made(self, **options: Any) -> nn.Module:
        module: nn.Module = self.models.get_model(self.name, **options)
        return module

    def _remedy(self) -> str:
        url = self._entry().url
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        return f"download {url} where there is a network, and put it at {path}"

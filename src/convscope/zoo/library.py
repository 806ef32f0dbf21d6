"""A network of another library: what is the same for all of them, and how the libraries are imported."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from convscope.card import Card
from convscope.errors import NetworkError, nearest

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_schemas: list[Any] = []  # operator schemas live as long as the library object that defined them


class External(ABC):
    """A network of another library: `library:name`, or `library:name@weights`.

    Raises:
        NetworkError: the library is not installed, or has no such network or weights.
    """

    library: ClassVar[str]

    def __init__(self, name: str, weights: str | None) -> None:
        self.name = name
        with _quiet():
            self._import()
            self._check_name()
            self.weights = None if weights is None else self._weights(weights)

    def __str__(self) -> str:
        return f"{self.library}:{self.name}" + (f"@{self.weights}" if self.weights else "")

    @property
    def card(self) -> Card:
        """Preprocessing of these weights with their classes, or without weights that of the recommended ones."""
        with _quiet():
            return self._card()

    def build(self, card: Card) -> nn.Module:
        """The network: random with as many channels and classes as the card says, or with its trained weights.

        Raises:
            NetworkError: the weights cannot be had, or are for other channels or classes.
        """
        if self.weights is not None:
            self._check_card(card)
        try:
            with _quiet():
                return self._build(card) if self.weights is None else self._trained()
        except NetworkError:
            raise
        except Exception as error:  # code of another library, which can raise anything
            what = f"({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            if self.weights is None:
                raise NetworkError(f"{self}: {self.library} cannot build it {what}") from error
            raise NetworkError(f"{self}: its weights cannot be loaded {what}; {self._remedy()}") from error

    def _check_card(self, card: Card) -> None:
        own = self.card
        if card.preprocess.planes != own.preprocess.planes:
            raise NetworkError(
                f"{self}: its weights are for {own.preprocess.planes} channels, and the preprocessing says "
                f"{card.preprocess.planes}"
            )
        if card.classes and own.classes and len(card.classes) != len(own.classes):
            raise NetworkError(
                f"{self}: its weights have {len(own.classes)} classes, and {len(card.classes)} are named"
            )

    def _unknown_weights(self, weights: str, known: Iterable[str]) -> NetworkError:
        names = list(known)
        listed = f"; known are {', '.join(names)}" if names else ""
        return NetworkError(f"{self.library}:{self.name} has no weights {weights!r}{nearest(weights, names)}{listed}")

    def _check_name(self) -> None:
        names = self._names()
        if self.name not in names:
            raise NetworkError(
                f"{self.library} has no network {self.name!r} that classifies images{nearest(self.name, names)}; "
                f"{self.library}.{'models.' if self.library == 'torchvision' else ''}list_models() has the names"
            )

    @abstractmethod
    def _import(self) -> None: ...

    @abstractmethod
    def _names(self) -> list[str]: ...

    @abstractmethod
    def _weights(self, weights: str) -> str: ...

    @abstractmethod
    def _card(self) -> Card: ...

    @abstractmethod
    def _build(self, card: Card) -> nn.Module: ...

    @abstractmethod
    def _trained(self) -> nn.Module: ...

    @abstractmethod
    def _remedy(self) -> str: ...


def import_torchvision() -> Any:
    """Torchvision, also where its compiled part does not load.

    PyPI's torchvision is made for PyPI's torch, and with another one (as the smaller one for CPUs alone) its operators
    are not there. Networks that classify do without them, but importing it then fails, as it describes two of them that
    nobody has declared.

    Raises:
        NetworkError: it is not installed, or cannot be imported.
    """
    if "torchvision" not in sys.modules and not _schemas:
        found = importlib.util.find_spec("torchvision")
        if found is not None and found.origin is not None and not _compiled_part_loads(Path(found.origin).parent):
            library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
            for name in ("nms", "qnms"):
                library.define(f"{name}{_SCHEMA}")  # type: ignore[no-untyped-call]
            _schemas.append(library)
    with _quiet():
        import_library("torchvision.models")
        return import_library("torchvision")


def _compiled_part_loads(folder: Path) -> bool:
    for path in (folder / f"_C{suffix}" for suffix in [*EXTENSION_SUFFIXES, ".so", ".pyd"]):
        if path.exists():
            try:
                torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
            except (OSError, ImportError):
                return False
            return True
    return False


def import_library(module: str) -> Any:
    """A module of a library that may not be there.

    Raises:
        NetworkError: it is not installed, or cannot be imported.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise NetworkError(f'{error.name} is not installed; pip install "convscope[zoo]"') from error
    except Exception as error:  # one that does not fit the torch that is there
        raise NetworkError(
            f"{library} cannot be imported ({type(error).__name__}: {error}); install one that fits torch "
            f"{torch.__version__}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the libraries warn of is nothing that the user did: deprecations, and random weights that were asked for."""
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

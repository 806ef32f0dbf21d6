"""The check: a sample of the images, the rules without labels, then those with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convscope import zoo
from convscope.graph import Graph
from convscope.images import ImageSet
from convscope.network import Network
from convscope.recorder import record
from convscope.sanity import inputs, labels
from convscope.sanity.alternatives import with_std
from convscope.sanity.finding import Finding
from convscope.sanity.sample import Look, evenly, look

_FIRST, _MORE = 10, 50  # with 9 alternatives: 10 · 10 + 50 · 2 = 200 images through the network at most


def check(
    network: Network,
    images: ImageSet,
    ids: Sequence[int] | None = None,
    *,
    graph: Graph | None = None,
    truth: Tensor | None = None,
    accuracy: tuple[int, int] | None = None,
) -> list[Finding]:
    """Likely mistakes in the preprocessing or the labels; nothing where all is well or where nothing can be said.

    It runs the network on at most 200 images (10 without labels), and leaves it as it was. The same network, images
    and number of threads give the same findings.

    Args:
        ids: of the images that are used; default all.
        graph: what `convscope.recorder.record` gave for the network, if it is there already.
        truth: (len(images),) class indices, -1 where not known; default what `images` says.
        accuracy: how many are right of how many labelled ones, if more are known than the check looks at.

    Raises:
        NetworkError: the network does not run on the images.
    """
    graph = graph or record(network.module, network.example().to(memory_format=torch.channels_last))
    truth = _truth(network, images, graph) if truth is None else truth.cpu()
    first, more = _chosen(range(len(images)) if ids is None else ids, truth)
    seen = look(network, graph, images, first, inputs.taps(graph))
    if not seen.ids:
        return []
    found = inputs.findings(seen, graph, network.preprocess)
    return found or _with_labels(network, images, seen, more, truth, accuracy)


def _with_labels(
    network: Network, images: ImageSet, seen: Look, more: Sequence[int], truth: Tensor, accuracy: tuple[int, int] | None
) -> list[Finding]:
    suspicion = inputs.missing_std(seen, network.preprocess)
    trial = None
    if seen.scores is not None and bool((truth[list(seen.ids)] >= 0).all()) and not _is_random(network):
        trial = labels.Trial(network, images, seen.scores, seen.ids, more, truth)
    if trial is None or not trial.enough:
        return [suspicion] if suspicion else []
    if suspicion and not trial.contradicts(with_std(network.preprocess)):
        return [suspicion]
    found = None if suspicion else trial.better()
    if found is None:
        if accuracy is None:
            sample = trial.declared()
            accuracy = sample.right, len(sample.true)
        found = labels.wrong_labels(*accuracy, trial, network)
    return [found] if found else []


def _truth(network: Network, images: ImageSet, graph: Graph) -> Tensor:
    shape = graph.shapes[graph.outputs[0]]
    scores = len(shape) == 2 and network.output == "softmax"
    return torch.as_tensor(images.class_indices(network, shape[1] if scores else 0)[0])


def _chosen(ids: Sequence[int], truth: Tensor) -> tuple[list[int], list[int]]:
    """The images that are looked at, evenly spaced, and more of them; labelled ones where there are enough."""
    labelled = [image for image in ids if truth[image] >= 0]
    pool = evenly(labelled if len(labelled) >= _FIRST + labels.MORE else ids, _FIRST + _MORE)
    first = evenly(pool, _FIRST)
    return first, [image for image in pool if image not in set(first) and truth[image] >= 0]


def _is_random(network: Network) -> bool:
    """Whether the user has asked for random weights, so that chance is what must come out."""
    name = "" if network.spec is None else str(network.spec["spec"])
    return zoo.is_architecture(name) or (name.startswith(("torchvision:", "timm:")) and "@" not in name)

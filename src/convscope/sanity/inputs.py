"""Rules that need no labels: what arrives at the network, against what is declared and what the weights have seen.

Each has a wide margin, because nobody's pictures are like ImageNet's: dark ones, drawings and scans must pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convscope.graph import Graph, Node, Ref
from convscope.preprocess import Preprocess
from convscope.sanity.finding import Finding, rounded
from convscope.sanity.sample import Look

_FACTOR = 16  # inputs are declared to have a standard deviation of about 1; units mixed up make it 255 or 1/255
_BLACK = 0.05  # no photograph of ten has a brighter spot
_FLAT = 0.02  # standard deviation of pictures that show hardly anything
_SEEN = 0.2  # share of the picture; 256 px and a crop of 224 leave 0.25 of a picture three times as long as high
_FILLED = 0.5
_CONTRAST = 0.25  # standard deviation of photographs whose white is 1
_TWICE = (2.5, 12.0)  # dividing by a std: ImageNet's does it by 4.4, MNIST's by 3.2
_VARIANCE = 10.0
_ARITHMETIC = {"sub", "add", "mul", "div", "rsub"}


def findings(look: Look, graph: Graph, declared: Preprocess) -> list[Finding]:
    """What is wrong for certain, in pictures; the first rule that finds something, as others would follow from it."""
    if isinstance(declared.channels, int):
        return []
    rules = (_black(look, declared), _crop(look, declared), _scale(look, declared), _mean(look, declared),
             _twice(look, graph, declared), _batchnorm(look, graph, declared))  # fmt: skip
    return [finding for finding in rules if finding is not None][:1]


def missing_std(look: Look, declared: Preprocess) -> Finding | None:
    """A mean is subtracted and nothing divided. Some weights are made so, hence it is a suspicion."""
    fractions = np.array(declared.mean)
    photographs = bool((fractions > 0).all() and (fractions < 1).all())
    if isinstance(declared.channels, int) or set(declared.std) != {1.0} or declared.range != (0, 1) or not photographs:
        return None
    mean, std = float(look.inputs.mean.mean()), float(look.inputs.std.mean())
    if std > 0.5:
        return None
    return Finding(
        "std",
        f"'mean' is subtracted and 'std' is 1, so the network's inputs have a standard deviation of {std:.2g} where "
        "weights mostly expect about 1; 'std' is probably missing: write the one of the training, for ImageNet "
        '"std": [0.229, 0.224, 0.225]',
        {"input_mean": rounded(mean), "input_std": rounded(std)},
    )


def taps(graph: Graph) -> list[int]:
    """The values of the graph that the rules look at."""
    first, norm = _first_input(graph), _first_batchnorm(graph)
    return [value for value in (first, norm[0] if norm else None) if value is not None]


def _shown(look: Look, declared: Preprocess) -> tuple[float, float, float]:
    """Mean, contrast (standard deviation) and brightest value of the pictures, whose white is 1."""
    width = declared.range[1] - declared.range[0]
    mean, std = np.array(declared.mean), np.array(declared.std)
    brightness = (look.inputs.mean * std + mean - declared.range[0]) / width
    contrast = look.inputs.std * std / width
    largest = (look.inputs.largest * std + mean - declared.range[0]) / width
    return float(brightness.mean()), float(contrast.mean()), float(largest.max())


def _black(look: Look, declared: Preprocess) -> Finding | None:
    brightness, _, largest = _shown(look, declared)
    if largest > _BLACK:
        return None
    return Finding(
        "black",
        f"the pictures are nearly black: the brightest value in {len(look.ids)} of them is {largest:.2g} where white "
        "is 1; they were probably divided by 255 twice, use few of their bits, or are label masks: give pictures as "
        "8-bit values, or as floats up to 1",
        {"brightest": rounded(largest), "mean": rounded(brightness), "images": len(look.ids)},
    )


def _crop(look: Look, declared: Preprocess) -> Finding | None:
    """A crop without a resize: of large photographs a small piece is left, and small ones drown in black."""
    shares = np.array([_framing(declared, height, width) for height, width in look.sizes])
    seen, filled = np.median(shares, 0)
    height, width = (int(side) for side in np.median(look.sizes, 0))
    evidence = {"seen": rounded(seen), "filled": rounded(filled), "picture": [height, width]}
    remedy = f'"resize" is probably missing or wrong: write "resize": {round(min(declared.size) / 0.875)}, for example'
    if seen < _SEEN:
        what = f"the network sees {seen:.1%} of a picture's area (they are about {height}×{width} px, before the crop)"
        return Finding("crop", f"{what}; {remedy}", evidence)
    if filled < _FILLED:
        what = f"only {filled:.1%} of the network's input is picture ({height}×{width} px), the rest is a black border"
        return Finding("border", f"{what}; {remedy}", evidence)
    return None


def _framing(declared: Preprocess, height: int, width: int) -> tuple[float, float]:
    """The share of the picture that the network sees, and the share of its input that is picture."""
    if declared.resize is None and declared.crop is None:
        return 1.0, 1.0
    if isinstance(declared.resize, int):
        factor = declared.resize / min(height, width)
        height, width = round(height * factor), round(width * factor)
    elif declared.resize is not None:
        height, width = declared.resize
    rows, columns = declared.crop or declared.size
    inside = min(height, rows) * min(width, columns)
    return inside / (height * width), inside / (rows * columns)


def _scale(look: Look, declared: Preprocess) -> Finding | None:
    """Mean and std in units of 0 to 255 and the range in 0 to 1, or the other way round."""
    std = float(look.inputs.std.mean())
    if set(declared.std) == {1.0} or 1 / _FACTOR < std < _FACTOR or _shown(look, declared)[1] < _FLAT:
        return None
    unit, pictures = ("0 to 1", "0 to 255") if std > 1 else ("0 to 255", "0 to 1")
    low, high = declared.range
    right = "[0, 1]" if std > 1 else "[0, 255]"
    return Finding(
        "scale",
        f"the network's inputs have a standard deviation of {std:.3g} where 'std' should make it about 1: 'mean' and "
        f"'std' look written for values from {unit}, and 'range' is [{low:g}, {high:g}]; write \"range\": {right}, or "
        f"'mean' and 'std' for {pictures}",
        {"input_mean": rounded(float(look.inputs.mean.mean())), "input_std": rounded(std)},
    )


def _mean(look: Look, declared: Preprocess) -> Finding | None:
    """Divided by the spread of pictures, with no mean subtracted. A std that only scales to 0 to 1 passes."""
    low, high = declared.range
    width = (high - low) / float(np.mean(declared.std))
    seen = float(look.inputs.mean.mean())
    if max(declared.mean) - low > 0.01 * (high - low) or width < _TWICE[0] or width > _FACTOR or seen < 1:
        return None
    return Finding(
        "mean",
        f"the network's inputs have a mean of {seen:.2g} where about 0 is expected after a division by 'std': 'mean' "
        f"is {list(declared.mean)} in a range of [{low:g}, {high:g}], so it is missing or in other units; write the "
        'one of the training, for ImageNet "mean": [0.485, 0.456, 0.406]',
        {"input_mean": rounded(seen), "input_std": rounded(float(look.inputs.std.mean()))},
    )


def _twice(look: Look, graph: Graph, declared: Preprocess) -> Finding | None:
    """The module normalises its input itself, and the card has done it before."""
    value = _first_input(graph)
    spread = None if value is None else look.taps[value]
    if spread is None or len(spread.std) != len(look.inputs.std):
        return None
    before, after = float(look.inputs.std.mean()), float(spread.std.mean())
    normalised = abs(float(look.inputs.mean.mean())) < 1.5 and 0.3 < before < 2 and set(declared.std) != {1.0}
    if not normalised or not _TWICE[0] < after / before < _TWICE[1]:
        return None
    return Finding(
        "twice",
        f"the images are normalised twice: by the preprocessing (standard deviation {before:.2g}), and by the network "
        f"itself before its first layer ({after:.2g}); if the network expects plain pictures, write "
        '"mean": [0], "std": [1] into the preprocessing',
        {"input_std": rounded(before), "first_layer_std": rounded(after)},
    )


def _batchnorm(look: Look, graph: Graph, declared: Preprocess) -> Finding | None:
    """The first batch norm remembers how strongly its channels varied in training: right away, or for dark pictures."""
    first = _first_batchnorm(graph)
    if first is None:
        return None
    value, running = first
    _, contrast, _ = _shown(look, declared)
    known = (running > 0) & (look.taps[value].std > 0)  # a pruned channel says nothing
    if contrast < _FLAT or not known.any():
        return None
    ratio = float(np.median(look.taps[value].std[known] ** 2 / running[known]))
    usual = ratio * (_CONTRAST / max(contrast, 1e-6)) ** 2  # what it would be for pictures of the usual contrast
    if not (max(ratio, usual) < 1 / _VARIANCE or min(ratio, usual) > _VARIANCE):
        return None
    direction = "weaker" if ratio < 1 else "stronger"
    return Finding(
        "batchnorm",
        f"what arrives at the first batch norm is {max(ratio, 1 / ratio) ** 0.5:.2g} times {direction} than in the "
        "training (standard deviation, by the statistics that it keeps): 'mean', 'std' or 'range' are probably not "
        "those of the training; for ImageNet's weights they are mostly [0.485, 0.456, 0.406], [0.229, 0.224, 0.225] "
        "and [0, 1]",
        {"variance_ratio": rounded(ratio), "at_usual_contrast": rounded(usual)},
    )


def _first_input(graph: Graph) -> int | None:
    """The input of the first layer, where arithmetic alone has made it out of the image; None where it is the image."""
    if not graph.layers():
        return None
    node = graph.nodes[graph.layers()[0].node]
    value = next(each for each in node.inputs if each in graph.dependent)
    steps = list(_back(graph, value))
    computed = [step for step in steps if step.ordinal is not None]
    if not computed or any(not (step.op.removesuffix("_") in _ARITHMETIC or _is_batchnorm(step)) for step in computed):
        return None
    return computed[0].outputs[0]


def _back(graph: Graph, value: int) -> Iterator[Node]:
    """The operations that made a value, from the last one to the image."""
    while value in graph.producers:
        node = graph.producers[value]
        yield node
        value = next((each for each in node.inputs if each in graph.dependent), -1)


def _first_batchnorm(graph: Graph) -> tuple[int, np.ndarray[tuple[int], np.dtype[np.float64]]] | None:
    """The raw output of the first layer and its variance in training, where a trained batch norm follows directly."""
    if not graph.layers():
        return None
    value = graph.layers()[0].output
    node = next((each for each in graph.consumers.get(value, []) if _is_batchnorm(each)), None)
    kept = [node.arguments.get(name) for name in ("running_mean", "running_var")] if node is not None else []
    if not kept or not all(isinstance(each, Ref) and each.value in graph.constants for each in kept):
        return None
    mean, variance = (graph.constants[each.value].detach().cpu().double().numpy() for each in kept if each is not None)
    untouched = not mean.any() and (variance == 1).all()
    return None if untouched else (value, variance)


def _is_batchnorm(node: Node) -> bool:
    """In any of its spellings, which depend on the device."""
    return "batch_norm" in node.op

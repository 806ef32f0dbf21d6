"""The words of the report: a line that explains each where it stands, and a little more on the page of terms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word of the pages.

    Args:
        line: what it means, in one sentence.
        more: how it is defined exactly, what to make of it, and the source.
    """

    name: str
    line: str
    more: str = ""


TERMS: dict[str, Term] = {
    "unit": Term(
        "unit",
        "One channel of a layer: a filter that looks everywhere in the image and gives a map of responses.",
        "All positions of the map share the unit's weights. One position of it is called a neuron. A unit is written "
        "layer:number, as in features.3:12.",
    ),
    "response": Term(
        "response",
        "What a unit gives after the batch norm and the non-linearity that follow its layer directly and alone.",
        "Where an addition or a branch comes first, it is the last value before that, and the page says “not "
        "rectified”. A scan with --at output reads the raw output of the layer instead.",
    ),
    "patches": Term(
        "best patches",
        "The places in the images that excite the unit most, cut to its field of view; one an image.",
        "For every image the maximum of the unit's map is taken, at the first such position in raster order; images "
        "are ranked by it. What lies outside the image is shown in the colour that the network sees as zero "
        "(Zeiler and Fergus 2014; Girshick et al. 2014; Zhou et al. 2015).",
    ),
    "deconvnet": Term(
        "deconvnet",
        "Sends one response back down to the pixels, through the same filters turned around.",
        "Pooling is undone by where its maxima were, and what is negative is cut off after each layer. It starts at "
        "the strongest position of the unit, all others zero, and is cropped as the patch is. Each tile has its own "
        "scale, on which the largest half per cent of the magnitudes are cut off (Zeiler and Fergus 2014).",
    ),
    "guided": Term(
        "guided backpropagation",
        "The gradient of the response along paths on which everything is positive.",
        "A signal goes down through a rectifier only where it is positive and the rectifier was open (Springenberg et "
        "al. 2015).",
    ),
    "upper-layers": Term(
        "projections and upper layers",
        "Deconvnet and guided backpropagation stay much the same when the upper layers get random weights.",
        "So they show what the filters below can draw more than what the unit has learned (Adebayo et al. 2018; Nie et "
        "al. 2018). Read them beside the patches, and not alone.",
    ),
    "field": Term(
        "field of view",
        "The part of the image, in pixels of the network's input, that one position of the unit can see.",
        "It is followed exactly through the executed operations, and may reach beyond the image. It is a bound on "
        "what can matter; what does matter is usually smaller (Luo et al. 2016).",
    ),
    "convolutional-field": Term(
        "convolutional field",
        "The field without what only scales whole maps, as squeeze-and-excitation does; patches are cut to it.",
        "A global pool whose result multiplies a map makes every position see the whole image. That is true and of "
        "little use for cutting patches, so gates are left out of this field; the exact field has them.",
    ),
    "exact-field": Term(
        "exact field",
        "Everything that can change the response at all, gates included.",
        "It differs from the convolutional field only behind gates, such as squeeze-and-excitation.",
    ),
    "stride": Term("stride", "How many pixels of the input lie between neighbouring positions of the map."),
    "start": Term(
        "start",
        "The first pixel that the first position of the map sees; negative where the network pads.",
    ),
    "zeros": Term(
        "share of zeros",
        "The share of all positions in all images at which the response is zero or less.",
        "Behind a rectifier, zero is silence: most units of a trained network are silent at most positions.",
    ),
    "active": Term("active", "The share of all positions in all images at which the response is above zero."),
    "sparsity": Term("sparsity", "The mean over a layer's units of their share of zeros; only for rectified layers."),
    "selectivity": Term(
        "class selectivity",
        "(m₁ − m) / (m₁ + m): m₁ the unit's mean response to its favourite class, m that to the other classes.",
        "0 is a unit that answers to all classes alike, 1 one that answers to a single class. It is not defined where "
        "a mean is negative (Morcos et al. 2018). With few images a class it is overestimated.",
    ),
    "favourite": Term(
        "favourite class",
        "The class whose images excite the unit most on average (spatial mean of the response).",
    ),
    "outstanding": Term(
        "outstanding",
        "How far the best image stands out from the usual response: (maximum − mean) / standard deviation.",
    ),
    "dead": Term(
        "dead",
        "Never above zero, at any position of any image.",
        "Usually: a learning rate that was too high, a large negative bias, or pruning. Such a unit costs time and "
        "does nothing on these images. With N images, at most 3/N of such images excite it, with 95 % confidence.",
    ),
    "nearly-dead": Term("nearly dead", "Above zero in fewer than one image of a thousand."),
    "silent": Term("silent", "Its maximum is below a thousandth of the median maximum of its layer."),
    "always-on": Term(
        "always on",
        "Above zero at more than 99 % of all positions, so the rectifier does nothing and the unit is linear.",
    ),
    "saturated": Term(
        "saturated",
        "Where its non-linearity is flat (slope below 0.001) at more than 99 % of all positions.",
        "No gradient passes there, so the unit no longer learns.",
    ),
    "nan": Term("NaN", "It gave “not a number” at least once; such values are counted and left out of the statistics."),
    "noisy": Term(
        "noisy filter",
        "Its weights look like noise: neighbouring weights agree no more than those of random filters do.",
        "Judged by the correlation of neighbouring weights and the share of high frequencies against 1,000 Gaussian "
        "filters of the same size. Smooth filters are a sign of training that has converged; noisy ones of training "
        "that was too short or had too little regularisation (Zeiler and Fergus 2014; Karpathy's course notes).",
    ),
    "frequency-picture": Term(
        "frequency picture",
        "Which spatial frequencies a filter passes: slow changes in the middle, fine detail at the border.",
        "The logarithm of the two-dimensional Fourier transform of the weights, zero-padded to 32 × 32.",
    ),
    "autocorrelation": Term(
        "autocorrelation",
        "How alike neighbouring weights are: near 1 for smooth filters, near 0 for noise, −1 for a checkerboard.",
    ),
    "high-frequencies": Term(
        "high frequencies",
        "The share of a filter's energy above a quarter cycle a pixel.",
    ),
    "entropy": Term(
        "spectral entropy",
        "How spread out a filter's energy is over the frequencies, in bits: low for gratings, high for noise.",
    ),
    "colour": Term(
        "colour ratio",
        "The share of a filter's energy that is colour: 0 for a grey filter, 1 for a purely coloured one.",
        "In AlexNet's two streams one half learned grey filters of high frequency, the other coloured ones of low "
        "frequency (Krizhevsky et al. 2012, figure 3).",
    ),
    "strength": Term(
        "strength of a connection",
        "The norm of the kernel between two units, times the standard deviation of the lower unit's response.",
        "Norms alone compare badly, since some units answer in the hundreds and others below one.",
    ),
    "weight": Term(
        "sign of a connection",
        "The sum of the kernel between two units: positive where the lower unit excites, negative where it inhibits.",
    ),
    "cam": Term(
        "class activation map",
        "The parts that the positions of the last map have in the score of a class.",
        "Where a network ends in global average pooling and a linear layer, their mean and the bias are the score, "
        "exactly (Zhou et al. 2016).",
    ),
    "gradcam": Term(
        "Grad-CAM",
        "The channels of the last map, weighted by how much each raises the score of a class.",
        "The weight is the mean gradient of the score by the channel; what speaks against the class is cut off "
        "(Selvaraju et al. 2017).",
    ),
    "unusual": Term(
        "unusually strong",
        "Units whose response to this image stands high among their responses to all images of the scan.",
        "First those in whose list of the best images this one stands, by its rank; then by (maximum − mean) / "
        "standard deviation.",
    ),
    "top1": Term("top-1 accuracy", "The share of labelled images whose highest output is the right class."),
    "top5": Term("top-5 accuracy", "The share of labelled images with the right class among the five highest outputs."),
    "confusion": Term("confusion", "Another class that the network gives for images of this one."),
    "flops": Term("FLOPs", "Floating-point operations for one image: two for each multiplication with its addition."),
    "distribution": Term(
        "distribution",
        "How often each size of response occurs, over images and positions; the scale of counts is logarithmic.",
    ),
    "preprocessing": Term(
        "preprocessing",
        "How images are made the network's input; it belongs to the weights, and is never guessed.",
    ),
}

DISSECTION: dict[str, Term] = {
    "detector": Term(
        "detector",
        "A unit whose label has an IoU above 0.04; it detects this concept.",
        "The label is the concept with the highest IoU. 0.04 is the cut of the paper, a convention (Bau, Zhou et al. "
        "2017).",
    ),
    "iou": Term(
        "IoU",
        "How well a unit's mask fits a concept: pixels in both, by pixels in either of them.",
        "Intersection over union, one ratio of sums over all images with any label of the concept's category. The mask "
        "are the pixels where the map, brought to the size of the labels, is above the unit's threshold.",
    ),
    "threshold": Term(
        "threshold of a unit",
        "The value that a small share of the unit's values exceeds, at all positions in all images.",
        "It is one value for all images; the share is 0.5 % in the paper. What is above it is the unit's mask.",
    ),
    "cap": Term(
        "cap",
        "About the highest IoU that a unit could have with a concept, since its mask has a given size.",
        "A mask that is the share q of all pixels cannot fit a concept that covers the larger share g of them better "
        "than q/g. Concepts whose cap is below 0.04 cannot be detected.",
    ),
    "unique": Term(
        "unique detectors",
        "How many different concepts the units of a layer detect: the paper's measure of how interpretable it is.",
        "The interval is that of 200 draws of the images with repetition.",
    ),
    "false-detectors": Term(
        "false detectors",
        "How many units detect something when each image has the labels of another one: chance alone.",
        "Where they are as many as the detectors, these say nothing: use more images.",
    ),
}

FIELDS: dict[str, Term] = {
    "measured-field": Term(
        "measured field",
        "Where hiding a small part of the image moves the unit, on average over images that excite it.",
        "A square of noise slides over the image; how far the unit moves at the place of its maximum is the map. Its "
        "size is the side of a square with the area of the region above half of the peak, less the share of the "
        "noise's own square (Zhou et al. 2015).",
    ),
    "effective-field": Term(
        "field of the gradient",
        "The side of a square as large as the disc with 95.45 % of the gradient of the layer's central position.",
        "The mean over images of the magnitude of the gradient by each pixel, all units together (Luo et al. 2016).",
    ),
}


def of_flag(flag: str) -> str:
    """The term of one of the things that can be the matter with a unit."""
    return flag.lower().replace(" ", "-")

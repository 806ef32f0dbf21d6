"""The diorama as sets of images: labels, splits, what is written for IMAGES, and the contact sheet."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest

from convscope import diorama
from convscope.diorama import render
from convscope.errors import ImagesError
from convscope.images import open_images


def test_labels_classes_and_balance():
    for label_set, split in itertools.product(diorama.LABEL_SETS, diorama.SPLITS):
        classes = diorama.classes(label_set, split)
        labels = [classes[diorama.class_of(label_set, split, 0, i)] for i in range(len(classes) * 4)]
        assert Counter(labels) == dict.fromkeys(classes, 4)
        assert render(label_set, split, 2).label == labels[2]
    assert len(diorama.classes("objects", "train")) == 24
    assert len(diorama.classes("objects", "novel")) >= 12
    assert not set(diorama.classes("objects", "novel")) & set(diorama.classes("objects", "train"))
    assert len(diorama.classes("scenes", "train")) >= 12


def test_splits_share_no_picture():
    pictures = [
        hashlib.sha256(render(label_set, split, index, 32).image.tobytes()).digest()
        for label_set, split in itertools.product(diorama.LABEL_SETS, diorama.SPLITS)
        for index in range(40)
    ]
    assert len(set(pictures)) == len(pictures)
    assert (render("objects", "test", 0, seed=1).image != render("objects", "test", 0).image).any()


def test_an_image_set_opens_and_reads():
    images = open_images("diorama:objects/test")
    assert len(images) == 2000
    assert images.reopens
    assert images.labels[5] == render("objects", "test", 5).label
    assert images.read(5).shape == (3, 96, 96)
    np.testing.assert_array_equal(np.round(images.read(5) * 255).transpose(1, 2, 0), render("objects", "test", 5).image)
    assert open_images("diorama:scenes/val:64").read(0).shape == (3, 64, 64)
    assert images.signature(0, 9) == open_images("diorama:objects/test").signature(0, 9)
    assert images.signature(0, 9) != open_images("diorama:objects/val").signature(0, 9)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("diorama:objects", "diorama:objects/test"),
        ("diorama:object/test", "'objects'"),
        ("diorama:objects/tests", "'test'"),
        ("diorama:objects/test:big", "'big'"),
        ("diorama:objects/test:5000", "1024"),
    ],
)
def test_what_is_written_wrongly_is_named(spec, said):
    with pytest.raises(ImagesError, match=said):
        open_images(spec)


def test_a_sheet_is_drawn(tmp_path):
    from click.testing import CliRunner
    from PIL import Image

    from convscope.cli import main

    run = CliRunner().invoke(
        main, ["diorama", "sheet", "-o", str(tmp_path / "a.png"), "--rows", "1", "--columns", "3", "--size", "64"]
    )
    assert run.exit_code == 0, run.output
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(picture[:64, 68:132], render("objects", "test", 1, 64).image)

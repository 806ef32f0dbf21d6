"""Concept sets say of each pixel what was planted there, in every format, and refuse what they would read wrongly."""

from __future__ import annotations

import csv
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from convscope.concepts import CATEGORIES, Coverage, Labels, coverage, only, open_concepts, shuffled, with_colours
from convscope.concepts.coco import Region
from convscope.concepts.colour_names import basic_names, names_of_pixels
from convscope.diorama import TABLES, render
from convscope.diorama.colours import COLOURS, PAINTS
from convscope.diorama.export import export
from convscope.errors import ImagesError, UnreadableImage
from convscope.images import open_images
from convscope.images.arrays import Arrays


def table(path, columns, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def picture(path, height=6, width=8, colour=(200, 30, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path, **options)


def mask(path, values, type_=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, type_)).save(path)


def pixels(*, h=6, w=8, **areas):
    """A map of zeros with numbers in the rows and columns that are given, as n3=(0, 2, 1, 4)."""
    values = np.zeros((h, w), np.int32)
    for name, (y0, y1, x0, x1) in areas.items():
        values[y0:y1, x0:x1] = int(name[1:])
    return values


SKY, CAR = pixels(n3=(0, 2, 0, 8), n700=(3, 6, 2, 5)), pixels(n3=(0, 1, 0, 4))


@pytest.fixture
def folder(tmp_path):
    """Two images with one label map each, in 16 bits, and concepts with gaps between their numbers."""
    for name, values in (("a", SKY), ("b", CAR)):
        picture(tmp_path / f"images/{name}.jpg")
        mask(tmp_path / f"masks/{name}.png", values, np.uint16)
    table(
        tmp_path / "concepts.csv", ("number", "name", "category"),
        (700, "car", "object"), (3, "sky", "object"), (12, "beach", "scene"), (13, "sky", "part"),
    )  # fmt: skip
    return tmp_path


def fails(folder, *words, index=None):
    """It cannot be opened, or the labels of an image cannot be read, and the message has all of these words."""
    with pytest.raises(ImagesError) as error:  # noqa: PT012 — either step may be the one that fails
        found = open_concepts(folder)
        assert index is not None, "it was opened"
        found.labels(index)
    for word in words:
        assert word in str(error.value)


class TestTheDiorama:
    @pytest.mark.parametrize("spec", ["diorama:objects/test:64", "diorama:scenes/val", "diorama:objects/novel"])
    def test_it_says_what_its_scenes_say(self, spec):
        found = open_concepts(spec)
        names = ("", *(concept.name for concept in found.concepts))
        categories = ("", *(concept.category for concept in found.concepts))
        for index in (0, 17):
            scene, labels = found.images.scene(index), found.labels(index)
            assert labels.maps.dtype == np.int32
            for category, numbers in zip(scene.maps, labels.maps, strict=True):
                said = np.array(names)[numbers]
                assert (said == np.array(TABLES[category])[scene.maps[category]]).all()
                assert {categories[number] for number in np.unique(numbers)} <= {"", category}
            assert [names[number] for number in labels.whole] == [scene.category]
            assert categories[labels.whole[0]] == "scene"

    def test_numbers_have_no_gaps_and_all_categories_are_there(self):
        concepts = open_concepts("diorama:objects/test").concepts
        assert [concept.number for concept in concepts] == list(range(1, len(concepts) + 1))
        assert {concept.category for concept in concepts} == {*CATEGORIES}
        assert len({(concept.name, concept.category) for concept in concepts}) == len(concepts)

    @pytest.mark.parametrize(("label_set", "split", "size"), [("objects", "test", 64), ("scenes", "val", 97)])
    def test_an_export_is_the_same_set(self, tmp_path, label_set, split, size):
        export(label_set, split, tmp_path / "out", limit=6, size=size)
        files, world = open_concepts(tmp_path / "out"), open_concepts(f"diorama:{label_set}/{split}:{size}")
        assert tuple(files.concepts) == tuple(world.concepts)
        assert len(files) == 6
        assert files.remark is None
        assert list(files.images.labels) == list(world.images.labels[:6])
        for index in range(6):
            mine, drawn = files.labels(index), world.labels(index)
            assert np.array_equal(mine.maps, drawn.maps)
            assert mine.whole == drawn.whole
            assert np.array_equal(np.asarray(files.images.read(index)), render(label_set, split, index, size).image)

    def test_what_an_image_has(self):
        labels = Labels(np.array([[[0, 5], [2, 2]]], np.int32), (3, 9))
        assert labels.present().tolist() == [2, 3, 5, 9]
        assert Labels(np.zeros((0, 1, 1), np.int32)).present().tolist() == []


class TestAFolder:
    def test_numbers_with_gaps_keep_their_order(self, folder):
        found = open_concepts(folder)
        assert [(each.number, each.name, each.category) for each in found.concepts] == [
            (1, "sky", "object"), (2, "beach", "scene"), (3, "sky", "part"), (4, "car", "object"),
        ]  # fmt: skip
        expected = np.select([SKY == 3, SKY == 700], [1, 4], 0)
        assert np.array_equal(found.labels(0).maps, expected[None])
        assert found.labels(0).whole == ()

    def test_several_maps_and_whole_images(self, folder):
        for name in ("part", "object", "instance"):
            (folder / f"masks/{name}").mkdir()
        (folder / "masks/a.png").rename(folder / "masks/object/a.png")
        (folder / "masks/b.png").unlink()
        mask(folder / "masks/part/a.png", pixels(n13=(2, 4, 1, 3)))
        mask(folder / "masks/instance/a.png", pixels(n99=(0, 6, 0, 8)))
        table(folder / "scenes.csv", ("file", "label"), ("images/b.jpg", "beach"))
        found = open_concepts(folder)
        assert [each.shape for each in (found.labels(0).maps, found.labels(1).maps)] == [(2, 6, 8), (0, 1, 1)]
        assert np.array_equal(found.labels(0).maps[1], 3 * (pixels(n1=(2, 4, 1, 3))))
        assert [found.labels(index).whole for index in (0, 1)] == [(), (2,)]
        assert "1 of 2 images have no label map in masks/part, such as images/b.jpg" in found.remark

    def test_a_map_may_be_smaller_than_its_picture(self, folder):
        picture(folder / "images/a.jpg", 375, 500)
        mask(folder / "masks/a.png", np.zeros((187, 250)))
        assert open_concepts(folder).labels(0).maps.shape == (1, 187, 250)

    def test_a_picture_on_its_side_is_turned_first(self, folder):
        exif = Image.Exif()
        exif[274] = 6
        picture(folder / "images/a.jpg", 80, 60, exif=exif)
        mask(folder / "masks/a.png", np.zeros((60, 80)))
        assert open_concepts(folder).labels(0).maps.shape == (1, 60, 80)
        mask(folder / "masks/a.png", np.zeros((80, 60)))
        fails(folder, "a.png", "80 × 60 px", "60 × 80 px", "EXIF", index=0)

    def test_a_picture_that_cannot_be_read_is_no_fault_of_its_map(self, folder):
        (folder / "images/a.jpg").write_bytes(b"no picture")
        assert open_concepts(folder).labels(0).maps.shape == (1, 6, 8)

    def test_the_signature_follows_maps_pictures_and_concepts(self, folder):
        signatures = [open_concepts(folder).signature(0, 1)]
        assert open_concepts(folder).signature(0, 1) == signatures[0]
        mask(folder / "masks/b.png", np.zeros((6, 8)))
        assert open_concepts(folder).signature(0, 1) == signatures[0]  # that is another image
        mask(folder / "masks/a.png", np.ones((600, 800)))
        signatures.append(open_concepts(folder).signature(0, 1))
        picture(folder / "images/a.jpg", 60, 80)
        signatures.append(open_concepts(folder).signature(0, 1))
        table(folder / "scenes.csv", ("file", "label"), ("images/a.jpg", "beach"))
        signatures.append(open_concepts(folder).signature(0, 1))
        text = (folder / "concepts.csv").read_text()
        (folder / "concepts.csv").write_text(text.replace("car", "cat"))
        signatures.append(open_concepts(folder).signature(0, 1))
        assert len({*signatures}) == 5


class TestErrorsOfAFolder:
    def test_a_missing_map(self, folder):
        (folder / "masks/b.png").unlink()
        fails(folder, "masks/b.png", "images/b.jpg", "missing", "add it")

    def test_a_map_that_goes_missing_later(self, folder):
        found = open_concepts(folder)
        (folder / "masks/b.png").unlink()
        with pytest.raises(ImagesError, match=r"masks/b\.png: this label map is missing"):
            found.labels(1)

    def test_a_number_that_is_not_known(self, folder):
        mask(folder / "masks/b.png", pixels(n77=(4, 5, 6, 7)))
        fails(folder, "masks/b.png", "77", "row 4, column 6", "concepts.csv", "add its concept", index=1)

    def test_a_map_of_another_shape(self, folder):
        mask(folder / "masks/a.png", np.zeros((6, 16)))
        fails(folder, "masks/a.png", "6 × 16 px", "images/a.jpg", "6 × 8 px", index=0)

    def test_maps_of_different_sizes(self, folder):
        for name, size in (("object", (6, 8)), ("part", (3, 4))):
            for image in "ab":
                mask(folder / f"masks/{name}/{image}.png", np.zeros(size))
        fails(folder, "masks/part/a.png", "3 × 4 px", "6 × 8 px", "the same size", index=0)

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            ([(1, "sky", "object"), (2, "sky", "object")], ["line 3", "'sky'", "line 2", "different names"]),
            ([(1, "sky", "object"), (1, "car", "object")], ["line 3", "number 1", "line 2", "'sky'", "its own"]),
            ([(0, "sky", "object")], ["line 2", "number 0", "0 is no label"]),
            ([(65536, "sky", "object")], ["line 2", "65536", "1 to 65535"]),
            ([("1.5", "sky", "object")], ["line 2", "'1.5'", "whole number"]),
            ([(1, "sky", "objekt")], ["line 2", "'objekt'", "object, part, scene"]),
            ([(1, " ", "object")], ["line 2", "no name"]),
            ([], ["lists no concepts"]),
        ],
    )
    def test_what_concepts_csv_may_not_say(self, folder, rows, words):
        table(folder / "concepts.csv", ("number", "name", "category"), *rows)
        fails(folder, "concepts.csv", *words)

    def test_a_missing_column(self, folder):
        table(folder / "concepts.csv", ("number", "name"), (1, "sky"))
        fails(folder, "concepts.csv", "'category'", "number, name, category")

    def test_whole_images(self, folder):
        table(folder / "scenes.csv", ("file", "label"), ("images/c.jpg", "beach"))
        fails(folder, "scenes.csv, line 2", "images/c.jpg", "images/a.jpg")
        table(folder / "scenes.csv", ("file", "label"), ("images/a.jpg", "beech"))
        fails(folder, "scenes.csv, line 2", "'beech'", "beach")

    def test_an_image_elsewhere(self, folder):
        picture(folder / "preview.png")
        fails(folder, "preview.png", "outside of the folder images")

    def test_other_kinds_of_files(self, folder):
        path = folder / "masks/a.png"
        Image.fromarray(SKY.astype(np.uint8)).convert("P").save(path)
        fails(folder, "masks/a.png", "palette", "Image.fromarray", index=0)
        Image.new("RGB", (8, 6)).save(path)
        fails(folder, "masks/a.png", "RGB with 8 bits", "one grey channel of 8 or 16 bits", index=0)
        Image.new("LA", (8, 6)).save(path)
        fails(folder, "grey with transparency", index=0)
        Image.new("1", (8, 6)).save(path)
        fails(folder, "grey with 1 bits", index=0)
        Image.new("L", (8, 6)).save(path, format="JPEG")
        fails(folder, "masks/a.png", "no PNG", index=0)

    def test_four_bits_which_pillow_would_spread_over_eight(self, folder):
        def chunk(name, data):
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        rows = (b"\0" + b"\x33" * 4) * 6  # the number 3, two to a byte
        header = struct.pack(">IIBBBBB", 8, 6, 4, 0, 0, 0, 0)
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        (folder / "masks/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
        assert np.unique(np.asarray(Image.open(folder / "masks/a.png"))).tolist() != [3]
        fails(folder, "grey with 4 bits", index=0)

    def test_a_truncated_file(self, folder):
        path = folder / "masks/a.png"
        mask(path, np.random.default_rng(0).integers(0, 2, (60, 80)))
        path.write_bytes(path.read_bytes()[:100])
        fails(folder, "masks/a.png", "cannot be decoded", index=0)

    def test_no_concept_set(self, tmp_path):
        fails(tmp_path, "no concept set", "concepts.csv", "index.csv", "diorama:")
        fails(tmp_path / "nowhere", "there is no such folder", "concepts.csv")


class TestDrivingScenes:
    def test_classes_from_zero_and_void(self, tmp_path):
        table(tmp_path / "classes.csv", ("index", "name", "r"), (0, "sky", 1), (1, "void", 2), (2, "wheel", 3))
        table(tmp_path / "index.csv", ("image", "label"), ("in/b.jpg", "out/1.png"), ("in/a.jpg", "out/2.png"))
        for name in "ab":
            picture(tmp_path / f"in/{name}.jpg")
        mask(tmp_path / "out/1.png", pixels(n1=(0, 3, 0, 8), n2=(4, 6, 0, 3)))
        mask(tmp_path / "out/2.png", pixels())
        found = open_concepts(tmp_path)
        assert [(each.name, each.category) for each in found.concepts] == [("sky", "object"), ("wheel", "object")]
        expected = 1 - pixels(n1=(0, 3, 0, 8)) + pixels(n1=(4, 6, 0, 3))
        assert np.array_equal(found.labels(0).maps[0], expected)
        assert list(found.images.names) == ["in/b.jpg", "in/a.jpg"]
        assert not found.images.reopens
        mask(tmp_path / "out/2.png", pixels(n3=(0, 1, 0, 1)))
        fails(tmp_path, "out/2.png", "3", "classes.csv", index=1)
        table(tmp_path / "index.csv", ("image", "label"), ("in/b.jpg", "out/1.png"), ("in/b.jpg", "out/2.png"))
        fails(tmp_path, "index.csv, line 3", "in/b.jpg", "twice")

    @pytest.mark.real
    def test_camvid_as_its_authors_counted_it(self, shared_data):
        found = open_concepts(shared_data / "camvid")
        assert [concept.name for concept in found.concepts][-3:] == ["car", "pedestrian", "bicyclist"]
        counted = coverage(found)
        with (shared_data / "camvid/classes.csv").open() as file:
            published = {row["name"]: float(row["pixel_fraction_here"]) for row in csv.DictReader(file)}
        for concept, share in zip(found.concepts, counted.share, strict=True):
            assert share == pytest.approx(published[concept.name], abs=6e-6)


def packed(path, numbers, scale=1):
    """RGB: the number's hundreds in red or green, as Broden and ADE20K have it."""
    numbers = np.asarray(numbers)
    low, high = numbers % 256, numbers // 256
    channels = (high * 10 + 3, low, numbers * 0 + 9) if scale == 10 else (low, high, numbers * 0)
    mask(path, np.stack(channels, -1))


class TestBroden:
    @pytest.fixture
    def broden(self, tmp_path):
        columns = ("image", "split", "ih", "iw", "sh", "sw", "color", "object", "part", "material", "scene", "texture")
        table(
            tmp_path / "index.csv", columns,
            ("ade/a.jpg", "train", 6, 8, 3, 4, "ade/a_color.png", "ade/a_object.png", "ade/a_1.png;ade/a_2.png",
             "", "5", ""),
            ("dtd/b.jpg", "val", 6, 8, 3, 4, "", "", "", "", "", "2;6"),
        )  # fmt: skip
        table(
            tmp_path / "label.csv", ("number", "name", "category", "frequency", "coverage", "syns"),
            (1, "red-c", "color(1)", 1, 0.5, ""), (2, "dotted", "texture(1)", 1, 1, ""),
            (3, "door", "object(9);part(2)", 9, 1, "door;doors"), (300, "wheel", "part(1)", 1, 0.1, ""),
            (5, "street-s", "scene(1)", 1, 1, ""), (6, "woven", "texture(1)", 1, 1, ""),
        )  # fmt: skip
        for name in ("ade/a", "dtd/b"):
            picture(tmp_path / f"images/{name}.jpg")
        packed(tmp_path / "images/ade/a_color.png", pixels(h=3, w=4, n1=(0, 2, 0, 3)))
        packed(tmp_path / "images/ade/a_object.png", pixels(h=3, w=4, n3=(0, 2, 1, 3)))
        packed(tmp_path / "images/ade/a_1.png", pixels(h=3, w=4, n300=(2, 3, 0, 4)))
        packed(tmp_path / "images/ade/a_2.png", pixels(h=3, w=4, n3=(2, 3, 0, 1)))
        return tmp_path

    def test_planted_labels_are_read(self, broden):
        found = open_concepts(broden)
        assert [each.name for each in found.concepts] == ["red-c", "dotted", "door", "street-s", "woven", "wheel"]
        assert [each.category for each in found.concepts] == ["colour", "texture", "object", "scene", "texture", "part"]
        assert list(found.images.names) == ["images/ade/a.jpg", "images/dtd/b.jpg"]
        expected = [
            pixels(h=3, w=4, n3=(0, 2, 1, 3)), pixels(h=3, w=4, n6=(2, 3, 0, 4)), pixels(h=3, w=4, n3=(2, 3, 0, 1)),
            pixels(h=3, w=4, n1=(0, 2, 0, 3)),
        ]  # fmt: skip
        assert np.array_equal(found.labels(0).maps, expected)
        assert [found.labels(index).whole for index in (0, 1)] == [(4,), (2, 5)]

    def test_the_category_with_the_largest_coverage_is_the_primary_one(self, broden):
        table(broden / "c_object.csv", ("code", "number", "name", "frequency", "coverage"), (1, 3, "door", 9, 0.25))
        table(broden / "c_part.csv", ("code", "number", "name", "frequency", "coverage"), (1, 3, "door", 2, 0.75))
        assert open_concepts(broden).concepts[2].category == "part"

    def test_errors_name_file_and_line(self, broden):
        index = (broden / "index.csv").read_text()
        (broden / "index.csv").write_text(index.replace("2;6", "2;66"))
        fails(broden, "index.csv, line 3", "66", "label.csv")
        (broden / "index.csv").write_text(index.replace("2;6", ""))
        fails(broden, "index.csv, line 3", "no labels")
        (broden / "index.csv").write_text(index)
        packed(broden / "images/ade/a_2.png", pixels(h=3, w=4, n301=(2, 3, 0, 1)))
        fails(broden, "a_2.png", "301", "row 2, column 0", index=0)
        mask(broden / "images/ade/a_2.png", np.zeros((3, 4)))
        fails(broden, "a_2.png", "grey with 8 bits", "RGB with 8 bits", index=0)
        labels = (broden / "label.csv").read_text()
        (broden / "label.csv").write_text(labels.replace("texture(1)", "texture"))
        fails(broden, "label.csv, line 3", "'texture'", "object(120)")


class TestADE20K:
    def test_scene_parsing(self, tmp_path):
        lines = ["Idx\tRatio\tTrain\tVal\tName", "1\t0.1\t9\t9\twall", "2 \t0.1\t9\t9\tbuilding, edifice"]
        (tmp_path / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
        for split, name in (("training", "ADE_train_1"), ("validation", "ADE_val_1")):
            picture(tmp_path / f"images/{split}/{name}.jpg")
            mask(tmp_path / f"annotations/{split}/{name}.png", pixels(n2=(0, 6, 2, 3), n1=(0, 1, 0, 8)))
        found = open_concepts(tmp_path)
        assert [each.name for each in found.concepts] == ["wall", "building"]
        assert np.array_equal(found.labels(1).maps[0], pixels(n2=(0, 6, 2, 3), n1=(0, 1, 0, 8)))
        (tmp_path / "sceneCategories.txt").write_text("ADE_val_1 street\nADE_train_1 airport_terminal\nADE_x misc\n")
        found = open_concepts(tmp_path)
        assert [(each.number, each.name, each.category) for each in found.concepts[2:]] == [
            (3, "airport_terminal", "scene"), (4, "street", "scene"),
        ]  # fmt: skip
        assert [found.labels(index).whole for index in (0, 1)] == [(3,), (4,)]
        mask(tmp_path / "annotations/training/ADE_train_1.png", pixels(n3=(0, 1, 0, 1)))
        fails(tmp_path, "ADE_train_1.png", "3", "objectInfo150.txt", index=0)
        (tmp_path / "annotations/validation/ADE_val_1.png").unlink()
        fails(tmp_path, "annotations/validation/ADE_val_1.png", "missing")
        (tmp_path / "objectInfo150.txt").write_text("1,wall\n")
        fails(tmp_path, "objectInfo150.txt", "Idx", "Name")

    def test_objects_and_parts(self, tmp_path):
        stem = tmp_path / "images/training/s/street/ADE_train_1"
        picture(stem.with_suffix(".jpg"))
        packed(stem.with_name("ADE_train_1_seg.png"), SKY, scale=10)
        packed(stem.with_name("ADE_train_1_parts_1.png"), pixels(n513=(4, 6, 2, 4)), scale=10)
        fails(tmp_path, "concepts.csv", "missing", "number, name, category")
        table(
            tmp_path / "concepts.csv", ("number", "name", "category"),
            (3, "sky", "object"), (513, "wheel", "part"), (700, "car", "object"),
        )  # fmt: skip
        found = open_concepts(tmp_path)
        assert list(found.images.names) == ["images/training/s/street/ADE_train_1.jpg"]
        expected = [np.select([SKY == 3, SKY == 700], [1, 3], 0), pixels(n2=(4, 6, 2, 4))]
        assert np.array_equal(found.labels(0).maps, expected)
        stem.with_suffix(".jpg").unlink()
        fails(tmp_path, "ADE_train_1.jpg", "missing")


class TestColours:
    def test_paints_have_the_names_that_people_gave_them(self):
        for name, paints in PAINTS.items():
            assert [COLOURS[i] for i in basic_names(np.array(paints))] == [name] * len(paints)

    def test_web_colours(self):
        """Names that end in a basic one, from the standard (CSS 4), of which few are called otherwise by people."""
        from PIL.ImageColor import colormap, getrgb

        ends = {text: next((c for c in COLOURS if text.replace("gray", "grey").endswith(c)), None) for text in colormap}
        known = {text: end for text, end in ends.items() if end}
        values = np.array([getrgb(text) for text in known])
        found = np.array(COLOURS)[basic_names(values)]
        assert len(known) > 70
        assert np.mean(found == np.array(list(known.values()))) > 0.85
        assert {*found} == {*COLOURS}

    def test_the_table_is_the_rule_up_to_five_bits(self):
        values = np.random.default_rng(0).integers(0, 256, (2, 500, 3)).astype(np.uint8)
        assert np.array_equal(names_of_pixels(values), basic_names(values // 8 * 8 + 3.5))

    def test_a_colour_map_beside_the_others(self, folder):
        halves = Image.new("RGB", (8, 6), PAINTS["red"][0])
        halves.paste(PAINTS["blue"][0], (4, 0, 8, 6))
        halves.save(folder / "images/a.png")
        (folder / "images/a.jpg").unlink()
        mask(folder / "masks/a.png", np.full((3, 4), 3))
        plain, found = open_concepts(folder), open_concepts(f"colours:{folder}")
        labels, names = found.labels(0), [concept.name for concept in found.concepts]
        assert np.array_equal(labels.maps[:1], plain.labels(0).maps)
        assert [names[number - 1] for number in labels.maps[1, 1]] == ["red", "red", "blue", "blue"]
        assert names[4:] == list(COLOURS)
        assert {concept.category for concept in found.concepts[4:]} == {"colour"}
        assert found.signature(0, 1) != plain.signature(0, 1)
        fails(f"colours:{found.spec}", "colours are labelled in it already")

    def test_the_colour_of_a_smaller_map_is_that_of_the_middle(self, folder):
        stripes = np.full((3, 9, 3), PAINTS["blue"][0], np.uint8)
        stripes[1, 1::3] = PAINTS["red"][0]
        Image.fromarray(stripes).save(folder / "images/a.png")
        (folder / "images/a.jpg").unlink()
        mask(folder / "masks/a.png", np.zeros((1, 3)))
        found = with_colours(open_concepts(folder))
        assert {found.concepts[number - 1].name for number in found.labels(0).present()} == {"red"}

    def test_images_without_labels(self, tmp_path):
        picture(tmp_path / "a.png", colour=PAINTS["green"][0])
        found = open_concepts(f"colours:{tmp_path}")
        labels = found.labels(0)
        assert labels.maps.shape == (1, 6, 8)
        assert {found.concepts[number - 1].name for number in labels.present()} == {"green"}
        assert {found.concepts[number - 1].name for number in with_colours(open_images(tmp_path)).labels(0).present()}

    def test_arrays(self):
        array = np.stack([np.broadcast_to(np.float32(v) / 255, (4, 4)) for v in PAINTS["purple"][0]])[None]
        found = with_colours(Arrays(array, spec="memory"))
        assert {found.concepts[number - 1].name for number in found.labels(0).present()} == {"purple"}
        with pytest.raises(UnreadableImage, match="5 channels"):
            with_colours(Arrays(np.zeros((1, 5, 4, 4), np.float32), spec="memory")).labels(0)


class TestShuffled:
    def test_each_image_has_the_labels_of_another_one(self, tmp_path):
        export("objects", "test", tmp_path / "out", limit=9, size=32)
        base = open_concepts(tmp_path / "out")
        keys = [base.labels(index).maps.tobytes() for index in range(9)]
        assert len({*keys}) == 9
        orders = []
        for seed in range(4):
            mixed = shuffled(base, seed)
            orders.append([keys.index(mixed.labels(index).maps.tobytes()) for index in range(9)])
            assert sorted(orders[-1]) == list(range(9))
            assert all(place != source for place, source in enumerate(orders[-1]))
            again = open_concepts(mixed.spec)
            assert [keys.index(again.labels(index).maps.tobytes()) for index in range(9)] == orders[-1]
            assert again.signature(0, 9) == mixed.signature(0, 9)
        assert len({*map(tuple, orders)}) == 4
        assert len({shuffled(base, seed).signature(0, 3) for seed in range(4)} | {base.signature(0, 3)}) == 5

    def test_what_cannot_be_shuffled(self, folder):
        fails(f"shuffled:x:{folder}", "'x'", "shuffled:0:CONCEPTS")
        (folder / "images/b.jpg").unlink()
        with pytest.raises(ImagesError, match="one image"):
            shuffled(open_concepts(folder))


def region(number, image, category, segmentation):
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0}


def packed_runs(runs):
    """Run lengths as text: five bits a character, the lowest first, 32 where more follow, in ASCII from "0" on."""
    text = ""
    for place, run in enumerate(runs):
        left = run - runs[place - 2] if place > 2 else run
        while True:
            low, left = left & 31, left >> 5
            more = left != (-1 if low & 16 else 0)
            text += chr(48 + low + 32 * more)
            if not more:
                break
    return text


def runs_of(values):
    """Run lengths down the columns, the first of zeros."""
    runs, last = [0], 0
    for value in np.asarray(values).T.ravel().tolist():
        if value != last:
            runs, last = [*runs, 0], value
        runs[-1] += 1
    return runs


def inside(points, y, x):
    """Whether a ray from the place to the right crosses the polygon's sides an odd number of times."""
    corners = list(zip(points[::2], points[1::2], strict=True))
    crossed = 0
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        crossed += (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return crossed % 2 == 1


class TestCoco:
    THINGS = (
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 18, "name": "dog", "supercategory": "animal"},
    )
    STUFF = (
        {"id": 124, "name": "grass", "supercategory": "plant"},
        {"id": 131, "name": "metal", "supercategory": "raw-material"},
        {"id": 183, "name": "other", "supercategory": "other"},
    )
    PERSON, CROWD = pixels(n1=(1, 4, 1, 5)), pixels(n1=(5, 6, 0, 2))
    GRASS, METAL = pixels(n1=(4, 6, 0, 8)), pixels(n1=(0, 1, 0, 8))

    @pytest.fixture
    def coco(self, tmp_path):
        """Two images; in the first a person, a dog in front of it, a crowd on grass and something of metal."""
        for name in ("5.jpg", "30.jpg"):
            picture(tmp_path / f"val2017/{name}")
        images = [{"id": number, "file_name": f"{number}.jpg", "height": 6, "width": 8} for number in (30, 5)]
        crowd = {"size": [6, 8], "counts": runs_of(self.CROWD)}
        dog = [[3, 2, 8, 2, 8, 4, 3, 4], [0, 0, 1, 0, 1, 1]]
        things = [region(1, 5, 1, [[1, 1, 5, 1, 5, 4, 1, 4]]), region(2, 5, 18, dog), region(3, 5, 1, crowd)]
        masks = {124: self.GRASS, 131: self.METAL, 183: 1 - self.GRASS - self.METAL}
        stuff = [
            region(9, 5, number, {"size": [6, 8], "counts": packed_runs(runs_of(values))})
            for number, values in masks.items()
        ]
        for kind, categories, regions in (("instances", self.THINGS, things), ("stuff", self.STUFF, stuff)):
            for split, some in (("val2017", regions), ("train2017", [])):
                self.write(tmp_path, f"{kind}_{split}", images=images, annotations=some, categories=categories)
        return tmp_path

    @staticmethod
    def write(folder, name, **data):
        path = folder / f"annotations/{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(data))

    @staticmethod
    def change(folder, name, **changes):
        path = folder / f"annotations/{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def test_things_and_stuff(self, coco):
        found = open_concepts(coco)
        assert [(each.name, each.category) for each in found.concepts] == [
            ("person", "object"), ("dog", "object"), ("grass", "object"), ("metal", "material"),
        ]  # fmt: skip
        assert list(found.images.names) == ["val2017/30.jpg", "val2017/5.jpg"]
        assert found.labels(0).present().tolist() == []
        maps = found.labels(1).maps
        dog = pixels(n1=(2, 4, 3, 8)) | pixels(n1=(0, 1, 0, 1))
        for number, values in enumerate((self.PERSON | self.CROWD, dog, self.GRASS, self.METAL), 1):
            assert np.array_equal((maps == number).sum(0), values), number

    def test_without_stuff_and_with_two_splits(self, coco):
        for path in coco.glob("annotations/stuff_*"):
            path.unlink()
        picture(coco / "train2017/30.jpg")
        found = open_concepts(coco)
        assert [each.name for each in found.concepts] == ["person", "dog"]
        assert len(found) == 4  # 5.jpg of train2017 is missing, and is left out when it cannot be read
        assert found.labels(list(found.images.names).index("val2017/5.jpg")).present().tolist() == [1, 2]
        before = found.signature(0, 1)
        self.change(coco, "instances_val2017", annotations=[])
        assert found.signature(0, 1) != before

    def test_polygons_have_the_pixels_whose_middles_are_inside(self):
        rng = np.random.default_rng(0)
        for corners in (3, 4, 7, 12):
            points = rng.uniform(-3, 23, 2 * corners).round(1).tolist()
            mask = Region("", 1, [points]).mask(19, 20)
            assert mask.any()
            assert mask.tolist() == [[inside(points, y + 0.5, x + 0.5) for x in range(20)] for y in range(19)]

    def test_packed_run_lengths_are_those_of_the_numbers(self):
        rng = np.random.default_rng(0)
        assert packed_runs([1, 2, 3, 5, 40]) == "123" + "3" + "U1"  # differences of 3 and 37: 5 + 32 · 1
        for share in (0.0, 0.001, 0.2, 0.9, 1.0):
            values = rng.random((61, 70)) < share
            runs = runs_of(values)
            for counts in (runs, packed_runs(runs)):
                assert np.array_equal(Region("", 1, {"size": [61, 70], "counts": counts}).mask(61, 70), values)

    @pytest.mark.parametrize(
        ("segmentation", "words"),
        [
            ([[1, 1, 5]], ["annotation 7"]),
            ([[1, 1, 5, float("nan"), 2, 2]], ["annotation 7", "no number"]),
            ({"size": [6, 8], "counts": [40, 9]}, ["annotation 7", "6 × 8"]),
            ({"size": [6, 8], "counts": "\x7f"}, ["annotation 7", "packed"]),
            ({"size": [8, 6], "counts": [48]}, ["annotation 7", "[8, 6]", "[6, 8]"]),
            ({"counts": [48]}, ["annotation 7", "size"]),
        ],
    )
    def test_a_damaged_segmentation(self, coco, segmentation, words):
        self.change(coco, "instances_val2017", annotations=[region(7, 5, 1, segmentation)])
        fails(coco, "instances_val2017.json", *words, index=1)

    def test_what_does_not_fit_together(self, coco):
        picture(coco / "val2017/5.jpg", width=6, height=8)
        fails(coco, "val2017/5.jpg", "(8, 6)", "(6, 8)", index=1)
        self.change(coco, "instances_val2017", annotations=[region(7, 6, 1, [])])
        fails(coco, "instances_val2017.json", "annotation 7", "does not list")
        self.change(coco, "instances_val2017", annotations=[{"id": 7}])
        fails(coco, "instances_val2017.json", "'category_id' is missing")
        self.change(
            coco, "instances_val2017", annotations=[], categories=[*self.THINGS, self.STUFF[0] | {"name": "herb"}]
        )
        fails(coco, "category 124", "grass", "herb")
        self.change(coco, "instances_val2017", categories=[*self.THINGS, self.THINGS[0] | {"id": 77}])
        fails(coco, "'person' (object)", "two categories")
        self.change(coco, "instances_val2017", categories=[*self.THINGS, self.THINGS[0] | {"name": "child"}])
        fails(coco, "instances_val2017.json", "two of its categories have the number 1")
        self.change(coco, "instances_val2017", categories=self.THINGS, images=[{"id": 5}, {"id": 5}])
        fails(coco, "instances_val2017.json", "two of its images have the number 5")
        (coco / "annotations/instances_val2017.json").write_text("[")
        fails(coco, "instances_val2017.json", "not written")
        (coco / "val2017").rename(coco / "images")
        fails(coco, "the images are missing", "train2017/, val2017/")


class TestCategories:
    def test_concepts_of_other_categories_are_left_out_and_the_others_numbered_anew(self):
        base = open_concepts("diorama:objects/test:32")
        found = open_concepts(f"only:texture,scene,part:{base.spec}")
        left = [each for each in base.concepts if each.category in {"part", "scene", "texture"}]
        assert [(each.name, each.category) for each in found.concepts] == [(each.name, each.category) for each in left]
        assert [each.number for each in found.concepts] == list(range(1, len(left) + 1))
        assert found.spec == "only:part,scene,texture:diorama:objects/test:32"
        assert found.images.spec == base.images.spec
        assert found.signature(0, 3) != base.signature(0, 3)
        for index in range(3):
            labels, before = found.labels(index), base.labels(index)
            names = [["", *((each.name, each.category) for each in some)] for some in (found.concepts, base.concepts)]
            for y, x in np.ndindex(4, 4):
                here, there = (
                    {some[number] for number in (*each.maps[:, 8 * y, 8 * x], *each.whole)} - {""}
                    for some, each in zip(names, (labels, before), strict=True)
                )
                assert here == {each for each in there if each[1] in {"part", "scene", "texture"}}

    def test_a_set_that_has_no_others_stays_as_it_is(self, folder):
        base = open_concepts(folder)
        assert only(base, CATEGORIES) is base
        assert [each.name for each in open_concepts(f"colours:only:scene:{folder}").concepts[:2]] == ["beach", "black"]

    def test_what_cannot_be_left(self, folder):
        for spec in ("", "only:object", "only:object:", "shuffled:1"):
            fails(spec, "no concept set is named", "only:CATEGORY,...:CONCEPTS")
        fails(f"only:objects:{folder}", "'objects'", "object, part")
        fails(f"only:material,texture:{folder}", "no material and no texture", "object, part, scene")


def slow_counts(found, ids):
    """Pixel by pixel, as the words say it."""
    images, area = dict.fromkeys(found.concepts, 0), dict.fromkeys(found.concepts, 0.0)
    carrying = dict.fromkeys(CATEGORIES, 0)
    for index in ids:
        labels, seen = found.labels(index), set()
        _, height, width = labels.maps.shape
        for y in range(height):
            for x in range(width):
                here = {found.concepts[n - 1] for n in (*labels.maps[:, y, x], *labels.whole) if n}
                seen |= here
                for concept in here:
                    area[concept] += 1 / (height * width)
        for concept in seen:
            images[concept] += 1
        for category in {concept.category for concept in seen}:
            carrying[category] += 1
    return images, area, carrying


class TestCoverage:
    def test_it_counts_pixels_and_images(self):
        found = open_concepts("diorama:objects/test:32")
        images, area, carrying = slow_counts(found, range(5))
        counted = coverage(found, range(5))
        assert counted.images.tolist() == list(images.values())
        assert counted.area == pytest.approx(list(area.values()))
        assert counted.carrying == carrying
        texture = carrying["texture"]
        assert 0 < texture < 5  # so that shares are not of all images
        for concept, share in zip(found.concepts, counted.share, strict=True):
            assert share == pytest.approx(area[concept] / max(carrying[concept.category], 1))

    def test_a_pixel_counts_once_where_two_maps_agree(self, folder):
        for name in ("object", "part"):
            for image in "ab":
                mask(folder / f"masks/{name}/{image}.png", pixels(n3=(0, 3, 0, 8)))
        table(folder / "scenes.csv", ("file", "label"), ("images/a.jpg", "beach"))
        counted = coverage(open_concepts(folder))
        assert counted.area.tolist() == [1.0, 1.0, 0.0, 0.0]
        assert counted.share.tolist() == [0.5, 1.0, 0.0, 0.0]
        assert counted.images.tolist() == [2, 1, 0, 0]

    def test_parts_add_up(self):
        found = open_concepts("diorama:scenes/val:32")
        whole, parts = coverage(found, range(8)), [coverage(found, range(start, start + 4)) for start in (0, 4)]
        both: Coverage = parts[0] + parts[1]
        assert both.images.tolist() == whole.images.tolist()
        assert both.area == pytest.approx(whole.area)
        assert both.carrying == whole.carrying

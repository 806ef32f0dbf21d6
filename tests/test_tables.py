"""Images in tables: Parquet files, and data sets of Hugging Face, are the files whose bytes they hold."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from convscope.errors import ImagesError, UnreadableImage
from convscope.images import Hub, ImageSet, Parquet, open_images
from convscope.images import tables as tables_module
from convscope.network import Network, wrap

pa = pytest.importorskip("pyarrow", reason="missing: the package pyarrow, of the extra hub")
pq = pytest.importorskip("pyarrow.parquet")

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["wolf", "cat", "dog"]}}


def encoded(i: int, form: str = "PNG", **options: Any) -> bytes:
    """Picture i: 2 px wide, of the grey i."""
    buffer = io.BytesIO()
    Image.new("L", (2, 3), i).save(buffer, form, **options)
    return buffer.getvalue()


def grey(images: ImageSet, index: int) -> int:
    pixels: NDArray[Any] = np.asarray(images.read(index))
    assert len(np.unique(pixels)) == 1
    return int(pixels.flat[0])


def cells(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": encoded(i), "path": f"{i}.png"} for i in range(first, first + count)]


def table(images: Any, type_: Any = STRUCT, features: Any = None, **columns: Any) -> Any:
    made = pa.table({"image": pa.array(images, type_), **columns})
    return made.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    )


def written(path: Path, table: Any, rows: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path


def complaint(call: Callable[[], Any]) -> str:
    with pytest.raises(ImagesError) as caught:
        call()
    return str(caught.value)


def classifier(*classes: str) -> Network:
    return replace(wrap(nn.Flatten(), preprocess={"size": 4}, classes=classes or None))


# --- Parquet ---------------------------------------------------------------------------------------------------------


def test_the_layout_of_hugging_face(tmp_path: Path) -> None:
    labels = pa.array([2, 0, -1, None], pa.int64())
    path = written(tmp_path / "photos.parquet", table(cells(4), features=FEATURES, label=labels))
    images = open_images(path)
    assert (len(images), images.spec, images.remark) == (4, str(path), None)
    assert list(images.names) == ["0.png", "1.png", "2.png", "3.png"]
    assert list(images.labels) == ["dog", "wolf", None, None]
    assert [grey(images, i) for i in range(4)] == [0, 1, 2, 3]


def test_indices_keep_their_order_where_the_network_has_no_names(tmp_path: Path) -> None:
    """Sorted, the names would be cat, dog, wolf."""
    path = written(tmp_path / "a.parquet", table(cells(3), features=FEATURES, label=[0, 1, 2]))
    images = open_images(path)
    found, remark = images.class_indices(classifier(), 3)
    assert found.tolist() == [0, 1, 2]
    assert remark == "the network's classes have no names; those of the images were taken, in their order"
    assert images.class_indices(classifier("cat", "dog", "wolf"), 3)[0].tolist() == [2, 0, 1]
    found, remark = images.class_indices(classifier(), 4)
    assert found.tolist() == [-1] * 3
    assert remark is not None
    assert "4 classes without names, and there are 3 different labels" in remark


def test_classes_that_are_named_by_numbers_keep_their_order(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["3", "1", "2"]}}
    images = open_images(written(tmp_path / "a.parquet", table(cells(3), features=features, label=[0, 1, 2])))
    assert list(images.labels) == ["3", "1", "2"]
    assert images.class_indices(classifier(), 3)[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("type_", [pa.binary(), pa.large_binary()])
def test_plain_bytes_and_other_labels(tmp_path: Path, type_: Any) -> None:
    images = [encoded(i) for i in range(11)]
    for column, expected in [
        (pa.array([5] * 11, pa.int16()), [5] * 11),
        (pa.array(["cat", None] + ["dog"] * 9), ["cat", None] + ["dog"] * 9),
        (pa.array(["cat"] * 11).dictionary_encode(), ["cat"] * 11),
    ]:
        found = open_images(written(tmp_path / "a.parquet", table(images, type_, label=column)))
        assert list(found.labels) == expected
        assert list(found.names)[:2] == ["00", "01"]
        assert grey(found, 10) == 10
    found = open_images(written(tmp_path / "a.parquet", table(images, type_, label=pa.array([0.5] * 11))))
    assert found.remark == "the labels are of type double, and no class indices or names; they are left out"
    assert set(found.labels) == {None}


def test_names_that_do_not_tell_images_apart_are_ranks(tmp_path: Path) -> None:
    for paths in (["a.png", "a.png"], ["a.png", None], [None, None]):
        rows = [{"bytes": encoded(i), "path": path} for i, path in enumerate(paths)]
        assert list(open_images(written(tmp_path / "a.parquet", table(rows))).names) == ["0", "1"]


def test_a_folder_of_shards_in_order(tmp_path: Path) -> None:
    for i, name in enumerate(["data/train-00000.parquet", "data/train-00001.parquet", "data/test-00000.parquet"]):
        written(tmp_path / name, table(cells(5, 10 * i), label=[i] * 5), rows=2)
    written(tmp_path / ".cache" / "old.parquet", table(cells(5, 90)))
    images = open_images(tmp_path)
    assert isinstance(images, Parquet)
    assert [grey(images, i) for i in range(15)] == [20, 21, 22, 23, 24, 0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert list(images.labels) == [2] * 5 + [0] * 5 + [1] * 5
    assert images.remark == "the files of test and train are read as one set"
    Image.new("L", (2, 3)).save(tmp_path / "figure.png")
    beside = open_images(tmp_path)
    assert len(beside) == 1
    assert beside.remark is not None
    assert beside.remark.startswith("3 Parquet files lie beside the images and were not read, such as data/test-00000")


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_rows_in_any_order_from_any_thread(tmp_path: Path, rows: int) -> None:
    """Row groups smaller and larger than what is read at once."""
    for part in range(2):
        written(tmp_path / f"{part}.parquet", table(cells(100, 100 * part)), rows)
    images = open_images(tmp_path)
    order = np.random.default_rng(0).permutation(200)
    assert [grey(images, int(i)) for i in order[:60]] == order[:60].tolist()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda i: grey(images, int(i)), order)) == order.tolist()


def test_rows_in_order_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "a.parquet", table(cells(200)), 50)
    images = open_images(tmp_path)
    opened = []
    open_ = tables_module.ParquetRows._open
    monkeypatch.setattr(
        tables_module.ParquetRows, "_open", lambda self, index: (opened.append(index), open_(self, index))[1]
    )
    assert [grey(images, i) for i in range(0, 200, 3)] == list(range(0, 200, 3))
    assert opened == [0, 1, 2, 3]


MEMORY = """
import sys, pyarrow
from convscope.images import open_images
images = open_images(sys.argv[1])
for row in range(0, len(images), 7):
    images.rows.cell(row)
print(pyarrow.default_memory_pool().max_memory())
"""


def test_a_large_row_group_is_not_read_at_once(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 1 << 19), np.uint8)
    path = tmp_path / "a.parquet"
    pq.write_table(table([row.tobytes() for row in noise], pa.binary()), path, write_batch_size=16)  # rows in a page
    assert pq.ParquetFile(path).num_row_groups == 1
    assert path.stat().st_size > 100 << 20
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 << 20


def test_what_is_wrong_in_a_row_is_said_of_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = [None, {"bytes": None, "path": "/etc/hosts"}, {"bytes": None, "path": None}, {"bytes": b"", "path": "x"},
            {"bytes": b"no picture", "path": "y"}, {"bytes": encoded(7, exif=exif), "path": "z"}]  # fmt: skip
    images = open_images(written(tmp_path / "a.parquet", table(rows)))
    said = [
        *["its row holds no bytes of an image file"] * 3,
        "the file is empty",
        "its content is no picture that Pillow knows",
    ]
    for i, text in enumerate(said):
        with pytest.raises(UnreadableImage) as caught:
            images.read(i)
        assert str(caught.value) == text
    assert np.asarray(images.read(5)).shape == (2, 3), "turned, as the file would be"


def test_which_column_holds_the_images(tmp_path: Path) -> None:
    png = [encoded(1)]
    path = tmp_path / "a.parquet"
    for columns in (
        {"photo": png, "x": [1]},
        {"img": png, "thumbnail": [encoded(2)]},
        {"thumbnail": png, "image": png},
    ):
        assert grey(open_images(written(path, pa.table(columns))), 0) == 1
    text = complaint(lambda: open_images(written(path, pa.table({"a": png, "b": png}))))
    assert text.startswith(f"{path}: the columns a, b hold bytes, and none is named image; expected a column 'image'")
    text = complaint(lambda: open_images(written(path, pa.table({"image": [[1, 2]], "x": [1]}))))
    assert text == f"{path}: expected a column 'image' with the bytes of image files, found the columns image, x"


def test_which_column_holds_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    feature = FEATURES["label"]
    one = table(cells(1), features={"animal": feature}, animal=[1], x=[5])
    assert list(open_images(written(path, one)).labels) == ["cat"]
    two = open_images(
        written(path, table(cells(1), features={"fine": feature, "coarse": feature}, fine=[1], coarse=[2]))
    )
    assert list(two.labels) == [None]
    assert two.class_indices(classifier(), 3)[1] == (
        "the columns coarse, fine hold labels, and none is named label; labels are left out"
    )
    for broken in (
        {"label": {"_type": "ClassLabel"}},
        {"label": 3},
        [],
        {"label": {"_type": "ClassLabel", "names": 3}},
    ):
        assert list(open_images(written(path, table(cells(1), features=broken, label=[1]))).labels) == [1]


def test_what_is_no_parquet(tmp_path: Path) -> None:
    good = written(tmp_path / "good.parquet", table(cells(50))).read_bytes()
    for i, data in enumerate([b"", b"PAR1", b"no table", good[:-100], good[: len(good) // 2]]):
        path = tmp_path / f"{i}.parquet"
        path.write_bytes(data)
        assert complaint(lambda path=path: open_images(path)).startswith(f"{path}: not readable as Parquet (")
    written(tmp_path / "empty.parquet", table([]))
    assert complaint(lambda: open_images(tmp_path / "empty.parquet")).endswith("it lists no images")
    written(tmp_path / "set" / "a.parquet", table(cells(1)))
    written(tmp_path / "set" / "b.parquet", pa.table({"img": [encoded(1)]}))
    assert "b.parquet: its columns are not those of" in complaint(lambda: open_images(tmp_path / "set"))


def test_a_damaged_row_group_is_unreadable_and_the_others_are_not(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", table([encoded(i) for i in range(40)], pa.binary()), 20)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(bytes(data))
    images = open_images(path)
    for i in (3, 5, 30, 4, 21):
        if i >= 20:
            assert grey(images, i) == i
        else:
            with pytest.raises(UnreadableImage, match=r"its row cannot be read \((?!StopIteration)"):
                images.read(i)


def test_the_signature_follows_the_files_and_labels_of_its_rows(tmp_path: Path) -> None:
    for part in range(2):
        written(tmp_path / f"{part}.parquet", table(cells(10), label=[1] * 10), 4)
    images = open_images(tmp_path)
    before = [images.signature(0, 10), images.signature(10, 20), images.signature(5, 15)]
    assert len(set(before)) == 3
    written(tmp_path / "1.parquet", table(cells(10), label=[2] * 10))
    images = open_images(tmp_path)
    after = [images.signature(0, 10), images.signature(10, 20), images.signature(5, 15)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, False]


def test_a_table_opens_again_elsewhere(tmp_path: Path) -> None:
    images = open_images(written(tmp_path / "a.parquet", table(cells(30), label=[3] * 30)))
    grey(images, 3)
    assert images.reopens
    for again in (open_images(images.spec), pickle.loads(pickle.dumps(images))):
        assert (list(again.names), list(again.labels)) == (list(images.names), list(images.labels))
        assert [grey(again, i) for i in (29, 0)] == [29, 0]
        assert again.signature(3, 20) == images.signature(3, 20)


def test_what_is_said_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.parquet", table(cells(1)))
    for name in ("pyarrow", "pyarrow.parquet", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    for spec, package in [(str(path), "pyarrow"), ("hub:ylecun/mnist/test", "datasets")]:
        text = complaint(lambda spec=spec: open_images(spec))
        assert text.startswith(f"{spec}: this needs the package {package} (")
        assert text.endswith('; pip install "convscope[hub]"')


# --- data sets of Hugging Face ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def datasets() -> Any:
    module = pytest.importorskip("datasets", reason="missing: the package datasets, of the extra hub")
    module.disable_progress_bars()
    return module


def dataset(datasets: Any, count: int = 5) -> Any:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["wolf", "cat"]), "x": datasets.Value("string")}
    )
    rows = {"image": cells(count), "label": [i % 2 for i in range(count)], "x": ["a"] * count}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_saved_data_set(tmp_path: Path, datasets: Any) -> None:
    data = dataset(datasets).with_format("arrow")
    data.save_to_disk(str(tmp_path / "saved"))
    images = open_images(tmp_path / "saved")
    assert isinstance(images, Hub)
    assert (list(images.names), list(images.labels)) == ([f"{i}.png" for i in range(5)], ["wolf", "cat"] * 2 + ["wolf"])
    assert [grey(images, i) for i in range(5)] == list(range(5))
    assert images.class_indices(classifier(), 2)[0].tolist() == [0, 1, 0, 1, 0]
    assert images.reopens
    for again in (open_images(images.spec), pickle.loads(pickle.dumps(images))):
        assert grey(again, 4) == 4
        assert again.signature(0, 5) == images.signature(0, 5) != images.signature(0, 4)


def test_a_saved_data_set_in_another_order(tmp_path: Path, datasets: Any) -> None:
    dataset(datasets, 9).select([7, 2, 5]).save_to_disk(str(tmp_path / "saved"))
    images = open_images(tmp_path / "saved")
    assert [grey(images, i) for i in range(3)] == [7, 2, 5]
    assert (list(images.names), list(images.labels)) == (["7.png", "2.png", "5.png"], ["cat", "wolf", "cat"])


def test_names_of_a_longer_data_set(tmp_path: Path, datasets: Any) -> None:
    rows = [{"bytes": b"", "path": f"{i}.png"} for i in range(600)]
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": rows}, features=features).save_to_disk(str(tmp_path / "saved"))
    assert list(open_images(tmp_path / "saved").names) == [f"{i}.png" for i in range(600)]


def test_images_of_a_data_set_are_decoded_as_files(tmp_path: Path, datasets: Any) -> None:
    """And one that is damaged does not end the reading of the others."""
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = [{"bytes": encoded(1, exif=exif), "path": None}, {"bytes": b"broken", "path": None}, None]
    data = datasets.Dataset.from_dict({"image": rows}, features=datasets.Features({"image": datasets.Image()}))
    data.save_to_disk(str(tmp_path / "saved"))
    images = open_images(tmp_path / "saved")
    assert list(images.names) == ["0", "1", "2"]
    assert np.asarray(images.read(0)).shape == (2, 3)
    for i, said in [(1, "no picture that Pillow knows"), (2, "its row holds no bytes of an image file")]:
        with pytest.raises(UnreadableImage, match=said):
            images.read(i)


def test_a_row_that_datasets_cannot_read(tmp_path: Path, datasets: Any) -> None:
    class Damaged:
        def __getitem__(self, row: int) -> Any:
            raise OSError(f"no row {row}")

    dataset(datasets).save_to_disk(str(tmp_path / "saved"))
    images = open_images(tmp_path / "saved")
    assert isinstance(images, Hub)
    with pytest.raises(UnreadableImage, match=r"^its row cannot be read \(OSError: no row 3\)$"):
        replace(images, rows=Damaged()).read(3)


def test_a_saved_data_set_with_splits(tmp_path: Path, datasets: Any) -> None:
    datasets.DatasetDict({"train": dataset(datasets), "test": dataset(datasets, 2)}).save_to_disk(str(tmp_path / "d"))
    path = tmp_path / "d"
    assert complaint(lambda: open_images(path)) == (
        f"{path}: it has the splits train, test; give one of them, as {path}/SPLIT"
    )
    assert len(open_images(path / "test")) == 2


def test_a_damaged_data_set(tmp_path: Path, datasets: Any) -> None:
    path = tmp_path / "saved"
    dataset(datasets).save_to_disk(str(path))
    arrow = path / "data-00000-of-00001.arrow"
    data = arrow.read_bytes()
    arrow.write_bytes(data[: len(data) // 2])
    assert complaint(lambda: open_images(path)).startswith(f"{path}: the data set cannot be loaded (")
    arrow.write_bytes(data)
    (path / "state.json").write_text("{")
    assert complaint(lambda: open_images(path)).startswith(f"{path}: the data set cannot be loaded (")
    (path / "dataset_dict.json").write_text("[]")
    assert complaint(lambda: open_images(path)).startswith(f"{path}: the data set cannot be loaded (")
    text = datasets.Dataset.from_dict({"x": ["a"]})
    text.save_to_disk(str(tmp_path / "text"))
    assert "expected a column 'image'" in complaint(lambda: open_images(tmp_path / "text"))


@pytest.mark.parametrize("spec", ["hub:mnist", "hub:", "hub:/test", "hub:a/b/c/d", "hub:a b/test", "hub:x:/test"])
def test_a_name_that_is_none(spec: str) -> None:
    assert complaint(lambda: open_images(spec)).startswith(f"{spec}: expected hub:NAME/SPLIT or hub:NAME:CONFIG/SPLIT")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hub:mnist/test", ("mnist", None, "test")),
        ("hub:ylecun/mnist/test", ("ylecun/mnist", None, "test")),
        ("hub:zalando-datasets/fashion_mnist:plain/train", ("zalando-datasets/fashion_mnist", "plain", "train")),
    ],
)
def test_what_is_loaded(spec: str, expected: Any, datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, config: str | None = None, *, split: str) -> Any:
        asked.append((name, config, split))
        return dataset(datasets)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    images = open_images(spec)
    assert asked == [expected]
    assert (images.spec, len(images), grey(images, 3)) == (spec, 5, 3)


def test_images_that_are_local_files_are_read(tmp_path: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a data set consists of files, `datasets` keeps their paths in its cache and no bytes."""
    paths = [tmp_path / "a.png", tmp_path / "gone.png"]
    paths[0].write_bytes(encoded(9))
    data = datasets.Dataset.from_dict({"image": [str(path) for path in paths]}).cast_column("image", datasets.Image())
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    images = open_images("hub:some/files/train")
    assert grey(images, 0) == 9
    with pytest.raises(UnreadableImage, match="there is no such file"):
        images.read(1)


def test_without_a_network(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    spec = "hub:convscope-tests/there-is-none/test"
    text = complaint(lambda: open_images(spec))
    assert text.startswith(f"{spec}: the data set cannot be loaded (")
    assert text.endswith("without a network, give a folder that save_to_disk has written, or Parquet files")


def test_a_local_folder_is_not_taken_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    assert complaint(lambda: open_images("hub:mnist/test")) == (
        "hub:mnist/test: there is a folder mnist here; give it as IMAGES, or start in another folder"
    )

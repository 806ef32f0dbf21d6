"""Data sets of Hugging Face: ``hub:NAME/SPLIT``, and folders that ``Dataset.save_to_disk`` has written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.errors import ImagesError, UnreadableImage, is_passing
from convscope.images.columns import Columns, names_of, package, picture
from convscope.images.tables import Table
from convscope.preprocess import Picture

_SPEC = re.compile(r"hub:(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[^/:]+))?/(?P<split>[^/:]+)")


@dataclass(frozen=True, eq=False)
class Hub(Table):
    """A data set as `datasets` keeps it, mapped into memory from its files; its images are decoded as files are."""

    rows: Any = field(repr=False)
    column: str = field(repr=False)

    def files(self, start: int, stop: int) -> Sequence[Path]:
        """See `Table.files`."""
        return [Path(file["filename"]) for file in self.rows.cache_files]

    def read(self, index: int) -> Picture:
        """See `ImageSet.read`."""
        try:
            cell = self.rows[index][self.column]
        except Exception as error:  # a damaged file: ArrowInvalid, OSError, UnicodeDecodeError, ...
            if is_passing(error):
                raise
            raise UnreadableImage(f"its row cannot be read ({type(error).__name__}: {error})") from None
        return picture(cell)

    @classmethod
    def open(cls, spec: str) -> Hub:
        """The data set ``hub:NAME/SPLIT`` or ``hub:NAME:CONFIG/SPLIT``, from the network or where it was kept before.

        Raises:
            ImagesError: it is written wrongly, cannot be had, or has no images.
        """
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise ImagesError(f"{spec}: expected hub:NAME/SPLIT or hub:NAME:CONFIG/SPLIT, as hub:ylecun/mnist/test")
        name, config, split = match["name"], match["config"], match["split"]
        if Path(name).exists():  # it would be taken instead of the one that was meant
            raise ImagesError(f"{spec}: there is a folder {name} here; give it as IMAGES, or start in another folder")
        datasets = package("datasets", spec)
        advice = "; without a network, give a folder that save_to_disk has written, or Parquet files"
        return cls._of(lambda: datasets.load_dataset(name, config, split=split), spec, advice)

    @classmethod
    def saved(cls, path: Path, spec: str) -> Hub:
        """A data set that ``save_to_disk`` has written.

        Raises:
            ImagesError: it consists of several splits, is damaged, or has no images.
        """
        datasets = package("datasets", spec)

        def load() -> Any:
            table = path / "dataset_dict.json"
            if table.exists():
                splits = ", ".join(json.loads(table.read_text(encoding="utf-8"))["splits"])
                raise ImagesError(f"{spec}: it has the splits {splits}; give one of them, as {path}/SPLIT")
            return datasets.load_from_disk(str(path))

        return cls._of(load, spec)

    @classmethod
    def _of(cls, load: Callable[[], Any], spec: str, advice: str = "") -> Hub:
        """The images of the `datasets.Dataset` that `load` gives, undecoded."""
        try:
            return cls._made(load(), spec)
        except ImagesError:
            raise
        except Exception as error:  # no network, no such set or split, a set that is a program, damaged files, ...
            reason = f"{type(error).__name__}: {str(error).strip()}"
            raise ImagesError(f"{spec}: the data set cannot be loaded ({reason}){advice}") from error

    @classmethod
    def _made(cls, data: Any, spec: str) -> Hub:
        columns = Columns.of(data.features.arrow_schema, spec)
        if not len(data):
            raise ImagesError(f"{spec}: it lists no images")
        datasets = package("datasets", spec)
        rows = data.with_format(None).select_columns([columns.image])
        if isinstance(rows.features[columns.image], datasets.Image):
            rows = rows.cast_column(columns.image, datasets.Image(decode=False))
        labels = _column(data, columns.label) if columns.label else [None] * len(data)
        names = names_of(_paths(rows, columns))
        return cls(spec, names, columns.labels(labels), columns.classes, columns.remark, rows, columns.image)


def is_saved(path: Path) -> bool:
    """Whether ``save_to_disk`` has written the folder."""
    return (path / "dataset_dict.json").is_file() or all(
        (path / name).is_file() for name in ("state.json", "dataset_info.json")
    )


def _column(data: Any, name: str) -> list[Any]:
    values: list[Any] = data.with_format("arrow").select_columns([name])[:].column(0).to_pylist()
    return values


def _paths(rows: Any, columns: Columns) -> list[str | None]:
    """The path in each row, a part of the rows at a time, so that the bytes beside it are not all in memory."""
    if not columns.nested:
        return [None] * len(rows)
    paths: list[str | None] = []
    for batch in rows.with_format("arrow").iter(256):
        for cells in batch.column(0).chunks:
            known = cells.type.get_field_index("path") >= 0
            paths += cells.field("path").to_pylist() if known else [None] * len(cells)
    return paths

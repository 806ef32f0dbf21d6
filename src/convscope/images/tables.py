"""Images in tables: Parquet files, one or a folder of them, with the bytes of an image file in each row."""

from __future__ import annotations

import hashlib
import itertools
import threading
from abc import abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.errors import ImagesError, UnreadableImage, is_passing
from convscope.images.base import ImageSet, Label
from convscope.images.columns import Columns, names_of, package, picture
from convscope.images.files import SPLITS, file_state
from convscope.preprocess import Picture

_ROWS = 16  # read at once, and
_HELD = 4  # so many times kept; besides, pyarrow holds one page of the file


@dataclass(frozen=True, eq=False)
class Table(ImageSet):
    """Rows of a table, each with the bytes of an image file; in another process it is opened again."""

    spec: str
    names: Sequence[str] = field(repr=False)
    labels: Sequence[Label] = field(repr=False)
    classes: Sequence[str] | None = field(repr=False)
    remark: str | None = field(repr=False)

    @abstractmethod
    def files(self, start: int, stop: int) -> Sequence[Path]:
        """The files that hold the rows start to stop-1."""

    def signature(self, start: int, stop: int) -> str:
        """See `ImageSet.signature`: sizes and times of change of the files, in which the labels stand too."""
        states = [(path.name, file_state(path)) for path in self.files(start, stop)]
        return hashlib.sha256(repr((start, stop, states)).encode()).hexdigest()

    def __reduce__(self) -> tuple[Callable[..., ImageSet], tuple[str]]:
        from convscope.images.opening import open_images

        return open_images, (self.spec,)


@dataclass(frozen=True, eq=False)
class Parquet(Table):
    """Parquet files, one after the other, of which a few rows at a time are in memory."""

    rows: ParquetRows = field(repr=False)

    def files(self, start: int, stop: int) -> Sequence[Path]:
        """See `Table.files`."""
        return self.rows.files(start, stop)

    def read(self, index: int) -> Picture:
        """See `ImageSet.read`."""
        return picture(self.rows.cell(index))

    @classmethod
    def open(cls, paths: Sequence[Path], spec: str) -> Parquet:
        """Read everything but the images.

        Raises:
            ImagesError: a file cannot be read, has no column of images or another one than the first, or all are empty.
        """
        parquet = package("pyarrow.parquet", spec)
        columns: Columns | None = None
        names: list[str | None] = []
        labels: list[Label] = []
        groups: list[tuple[Path, int, int]] = []
        for path in paths:
            try:
                with parquet.ParquetFile(path) as file:
                    here = Columns.of(file.schema_arrow, str(path))
                    columns = columns or here
                    if here != columns:
                        raise ImagesError(f"{path}: its columns are not those of {paths[0]}; open them one by one")
                    rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                    names += _paths(file, here)
                    labels += _labels(file, here)
                    groups += [(path, group, count) for group, count in enumerate(rows)]
            except ImagesError:
                raise
            except Exception as error:  # damaged metadata: ArrowInvalid, OSError, ...
                raise ImagesError(f"{path}: not readable as Parquet ({type(error).__name__}: {error})") from error
        if columns is None or not names:
            raise ImagesError(f"{spec}: it lists no images")
        remark = "; ".join(filter(None, (columns.remark, _splits(paths)))) or None
        # The bytes only: a path in a file from elsewhere is not to be followed.
        rows_ = ParquetRows(groups, f"{columns.image}.bytes" if columns.nested else columns.image)
        return cls(spec, names_of(names), labels, columns.classes, remark, rows_)


class ParquetRows:
    """The cells of one column over all row groups of some files, read forwards a few rows at a time.

    A row group may be larger than the memory, so it is streamed, page by page (of 1,024 rows, as most programs write
    it). Rows that are asked for in about their order are read once; going back opens the row group again. Threads may
    ask at the same time.
    """

    def __init__(self, groups: Sequence[tuple[Path, int, int]], column: str) -> None:
        self._groups = [group for group in groups if group[2]]
        self._starts = [0, *itertools.accumulate(count for *_, count in self._groups)]
        self._column = column
        self._lock = threading.Lock()
        self._held: deque[tuple[int, Any]] = deque(maxlen=_HELD)
        self._stream: Iterator[Any] = iter(())
        self._at = self._end = 0  # the stream gives the rows from the one to before the other

    def files(self, start: int, stop: int) -> list[Path]:
        """The files that hold the rows start to stop-1."""
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, max(start, stop - 1)) - 1
        return list(dict.fromkeys(path for path, *_ in self._groups[first : last + 1]))

    def cell(self, row: int) -> Any:
        """What stands in a row.

        Raises:
            UnreadableImage: this part of the file is damaged, or gone.
        """
        with self._lock:
            try:
                return self._cell(row)
            except Exception as error:
                self._at = self._end = 0
                if is_passing(error):
                    raise
                raise UnreadableImage(f"its row cannot be read ({type(error).__name__}: {error})") from None

    def _cell(self, row: int) -> Any:
        for start, values in self._held:
            if start <= row < start + len(values):
                return values[row - start].as_py()
        if not self._at <= row < self._end:
            self._open(bisect_right(self._starts, row) - 1)
        while True:
            values = next(self._stream)
            self._held.append((self._at, values))
            self._at += len(values)
            if row < self._at:
                return values[row - self._at + len(values)].as_py()

    def _open(self, index: int) -> None:
        path, group, _ = self._groups[index]
        # Not the whole column at once, which is what pyarrow does when it is not told otherwise.
        file = package("pyarrow.parquet", str(path)).ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        batches = file.iter_batches(_ROWS, row_groups=[group], columns=[self._column], use_threads=False)
        self._stream = (batch.column(0) for batch in batches)
        self._at, self._end = self._starts[index], self._starts[index + 1]


def _paths(file: Any, columns: Columns) -> list[str | None]:
    """The path in each row, without the bytes beside it."""
    type_ = file.schema_arrow.field(columns.image).type
    if not columns.nested or type_.get_field_index("path") < 0:
        return [None] * file.metadata.num_rows
    cells = file.read([f"{columns.image}.path"]).column(0).to_pylist()
    return [cell and cell["path"] for cell in cells]


def _labels(file: Any, columns: Columns) -> list[Label]:
    if columns.label is None:
        return [None] * file.metadata.num_rows
    return columns.labels(file.read([columns.label]).column(0).to_pylist())


def _splits(paths: Sequence[Path]) -> str | None:
    found = sorted({path.stem.split("-")[0] for path in paths} & SPLITS)
    return f"the files of {' and '.join(found)} are read as one set" if len(found) > 1 else None

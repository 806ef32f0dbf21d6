"""A scan in parts, for batch systems: each computes a stretch of the shards, and `merge` folds them into the atlas.

A part keeps the state of every one of its shards, because only the fold of all shards in their order gives the same
bytes as one process: sums of floats depend on the order. Compressed they take a tenth of the room.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from convscope.atlas import Atlas
from convscope.errors import AtlasError, ImagesError
from convscope.images import ImageSet
from convscope.network import Network
from convscope.scanner.executors import Shards
from convscope.scanner.plan import At, Plan
from convscope.scanner.progress import Advance, Report, counter
from convscope.scanner.recipe import Recipe
from convscope.scanner.run import assemble, is_empty, prepare
from convscope.shards import ShardStore, differences, write

FORMAT, VERSION = "convscope-part", 1
SUFFIX = ".safetensors.zlib"


def scan_part(
    network: Network,
    images: ImageSet | str | Path,
    path: str | Path,
    part: int,
    parts: int,
    *,
    layers: Sequence[str] | None = None,
    at: At = "response",
    limit: int | None = None,
    batch_size: int = 32,
    exact_quantiles: bool = False,
    samples: int = 8,
    projections: int | None = None,
    top: int = 25,
    threads: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Report = lambda progress: None,
) -> Path:
    """Compute part number `part` (from 1) of `parts` of the scan into ``PATH.part-2-of-3``; the other arguments are
    those of `scan`.

    An interrupted part goes on where it was. `merge` makes the atlas of all parts.

    Returns:
        The folder of the part.

    Raises:
        AtlasError: there is something else at the place.
        NetworkError, ImagesError: as for `scan`, also where `merge` could not open them again.
    """
    if not 1 <= part <= parts:
        raise ValueError(f"part {part} of {parts}: parts are counted from 1")
    options = {
        "layers": layers,
        "at": at,
        "limit": limit,
        "batch_size": batch_size,
        "exact_quantiles": exact_quantiles,
        "samples": samples,
        "projections": projections,
        "top": top,
        "threads": threads,
    }
    plan, compute = prepare(network, images, options, workers, executor)
    recipe = Recipe.of(plan, {**options, "threads": plan.job["threads"]})
    about = _About(part, parts, recipe, plan.keys, {})
    folder = Path(f"{Path(path).resolve()}.part-{part}-of-{parts}")
    if folder.exists() and not is_empty(folder):
        return _finished(folder, about)
    chosen = about.shards
    job = {**plan.job, "part": f"{part} of {parts}"}
    store = ShardStore(folder, job, [plan.keys[index] for index in chosen], SUFFIX)
    with store.opened():
        missing = [chosen[i] for i in store.missing()]
        total, left = (sum(len(plan.shard(index)) for index in some) for some in (chosen, missing))
        with closing(compute(missing, counter(progress, "scanning", total, total - left))) as results:
            for index, data in results:
                store.add(index - chosen.start, zlib.compress(data, level=1))
        sums = {name: hashlib.sha256((store.folder / name).read_bytes()).hexdigest() for name in about.files}
        write(store.folder / "part.json", dataclasses.replace(about, sums=sums).to_json())
        store.clear()
        store.folder.rename(store.target)
    return folder


def merge(parts: Sequence[str | Path], path: str | Path, *, progress: Report = lambda progress: None) -> Atlas:
    """The atlas at `path` of all `parts` of a scan: the folders that `scan_part` gave, in any order.

    The network and the images are opened again, where and as the parts were computed; no shard is computed anew.
    The sample images are run on the CPU: of parts that another device computed, they alone are not to the byte what
    one process gives.
    An interrupted merge goes on where it was. The parts are left as they are.

    Raises:
        AtlasError: a part is missing, doubled, unfinished, damaged, or of another scan, or there is something else at
            `path`.
        NetworkError, ImagesError: they cannot be opened again, or have changed.
    """
    if not parts:
        raise AtlasError("there are no parts to merge; give the folders of all of them")
    path = Path(path).resolve()  # before the working directory changes
    abouts = [(folder, _About.read(folder)) for folder in (Path(each).resolve() for each in parts)]
    _check(abouts)
    first, about = abouts[0]
    with about.recipe.place():
        try:
            plan = about.recipe.plan(device="cpu")  # only samples and the check on preprocessing compute
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # arguments that nobody can have given
            raise _damaged(first, error) from error
        if plan.keys != about.keys:
            raise ImagesError(
                f"{plan.images.spec}: the images have changed since the parts were computed, or are others on this "
                "machine; their sizes and times of change must be the same"
            )
        return assemble(plan, path, functools.partial(_read, plan, abouts), progress)


@dataclass(frozen=True)
class _About:
    """``part.json``.

    Args:
        keys: of all shards of the scan.
        sums: SHA-256 of the part's files.
    """

    part: int
    parts: int
    recipe: Recipe
    keys: tuple[str, ...]
    sums: Mapping[str, str]

    @property
    def shards(self) -> range:
        """The shards of this part."""
        return range((self.part - 1) * len(self.keys) // self.parts, self.part * len(self.keys) // self.parts)

    @property
    def files(self) -> list[str]:
        """Their files, in the same order."""
        return [f"shard-{self.keys[index]}{SUFFIX}" for index in self.shards]

    def to_json(self) -> bytes:
        """What `read` reads."""
        return json.dumps({"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}, indent=1).encode()

    @classmethod
    def read(cls, folder: Path) -> _About:
        """The inverse of `to_json`.

        Raises:
            AtlasError: the folder is no part, or an unfinished or damaged one.
        """
        if not (folder / "part.json").is_file():
            unfinished = folder.with_name(folder.name.removesuffix(".partial") + ".partial").is_dir()
            what = "the part is not finished; give its command again" if unfinished else "there is no part of a scan"
            raise AtlasError(f"{folder}: {what}")
        try:
            data = json.loads((folder / "part.json").read_bytes())
            form, version = data.pop("format"), data.pop("version")
            if (form, version) != (FORMAT, VERSION):
                raise AtlasError(f"{folder}: {form} of version {version}; expected {FORMAT} of version {VERSION}")
            recipe = Recipe.from_json(data.pop("recipe"))
            about = cls(**data, recipe=recipe)
            about = dataclasses.replace(about, keys=tuple(about.keys))
            if set(about.sums) == set(about.files):
                return about
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise _damaged(folder, error) from error
        raise _damaged(folder, "it lists other shards than its own")


def _damaged(folder: Path, what: object) -> AtlasError:
    return AtlasError(f"{folder / 'part.json'}: damaged ({what}); compute the part again")


def _check(abouts: Sequence[tuple[Path, _About]]) -> None:
    """Raise unless these are all the parts of one scan."""
    first, about = abouts[0]
    found: dict[int, Path] = {}
    for folder, other in abouts:
        if differing := differences(about.recipe.job, other.recipe.job):
            raise AtlasError(f"{folder}: a part of another scan than {first} ({differing})")
        if other.parts != about.parts:
            raise AtlasError(f"{folder}: a part of {other.parts}, but {first} is one of {about.parts}")
        if other.keys != about.keys:
            raise AtlasError(f"{folder}: images had changed since {first} was computed; compute one of the two again")
        if other.part in found:
            raise AtlasError(f"{folder}: part {other.part} of {other.parts}, and so is {found[other.part]}; give one")
        found[other.part] = folder
    missing = [str(part) for part in range(1, about.parts + 1) if part not in found]
    if missing:
        names = f"part {missing[0]}" if len(missing) == 1 else f"parts {', '.join(missing)}"
        raise AtlasError(f"{names} of {about.parts} missing; compute what is missing, and give all parts at once")


def _read(plan: Plan, abouts: Sequence[tuple[Path, _About]], missing: Sequence[int], advance: Advance) -> Shards:
    """The states of the shards, from the parts."""
    files = {
        index: (folder / name, about.sums[name])
        for folder, about in abouts
        for index, name in zip(about.shards, about.files, strict=True)
    }
    for index in missing:
        path, expected = files[index]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise AtlasError(f"{path}: {error.strerror}; {_again(path)}") from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise AtlasError(f"{path}: damaged (its checksum is another one); {_again(path)}")
        try:
            state = zlib.decompress(data)
        except zlib.error as error:  # damaged before the part was done, so that its checksum is right
            raise AtlasError(f"{path}: damaged ({error}); {_again(path)}") from error
        advance(len(plan.shard(index)))
        yield index, state


def _again(path: Path) -> str:
    return f"delete {path.parent}, and compute that part again"


def _finished(folder: Path, about: _About) -> Path:
    """The folder, if it is that of the same part of the same scan."""
    there = _About.read(folder)
    if differing := differences(there.recipe.job, about.recipe.job):
        raise AtlasError(f"{folder}: there is a part of another scan already ({differing}); delete it")
    if there.keys != about.keys:
        raise AtlasError(f"{folder}: there is this part already, whose images have changed since; delete it")
    return folder

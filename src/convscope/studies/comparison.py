"""A comparison: networks that were trained alike, in a table like those of the papers.

It is a TOML file: the images that judge, a recipe without its architecture, the networks with their seeds, and
ensembles of them. Each network is trained in a folder of its own and goes on there after a kill; then one pass over the
images judges them all [METHODS 10.1].

>>> found = compare("heads", "heads")
>>> found.rows[0].name, found.rows[0].top1.error, found.rows[0].top1.interval
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from convscope import shards
from convscope.errors import TrainingError, nearest
from convscope.evaluation import Row, evaluate
from convscope.network import Network, load
from convscope.scanner.progress import Report
from convscope.training import Recipe, Trained, train
from convscope.training.fields import check_keys, in_folder, names, read_toml, seeds, table, text

FOLDER = Path(__file__).parent / "comparisons"
RESULT = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A network, trained once with each of the seeds."""

    name: str = text("what the table calls it")
    arch: str = text("an architecture, as in a recipe")
    seeds: tuple[int, ...] = seeds("a list of different seeds, as [0, 1, 2]", (0,))


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The mean of the probabilities of networks, with equal weights: all seeds of each."""

    name: str = text("what the table calls it")
    of: tuple[str, ...] = names("a list of names of networks", dataclasses.MISSING)


@dataclass(frozen=True)
class Comparison:
    """A comparison, read and checked.

    Args:
        name: of the file, without ``.toml``.
        title: of the table.
        test: IMAGES that judge; no network has seen them.
        recipes: of every network, one a seed.
    """

    name: str
    title: str
    test: str
    networks: tuple[Entry, ...]
    ensembles: tuple[Ensemble, ...]
    recipes: Mapping[str, tuple[Recipe, ...]]

    @classmethod
    def open(cls, spec: str | Path) -> Comparison:
        """The comparison in a file, or the one with this name among those of convscope.

        Raises:
            TrainingError: there is none, or something in it makes no sense.
        """
        data, path = read_toml(spec, FOLDER, "comparison")
        return cls.read(data, path.stem, str(path), path.parent)

    @classmethod
    def read(
        cls, data: Mapping[str, Any], name: str, origin: str = "the comparison", folder: Path = Path()
    ) -> Comparison:
        """The comparison in plain values; `folder` is where paths are looked for first.

        Raises:
            TrainingError: a key is unknown, missing, or has a value that makes no sense; it names `origin`.
        """
        check_keys(data, dict.fromkeys(("title", "test", "recipe", "networks", "ensembles")), origin)
        head = table(_Head, {key: data[key] for key in ("title", "test") if key in data}, origin)
        entries = _tables(Entry, data, "networks", origin)
        ensembles = _tables(Ensemble, data, "ensembles", origin)
        if not entries:
            raise TrainingError(f"{origin}: there is no table [[networks]]")
        _check_names(entries, ensembles, origin)
        plain = data.get("recipe")
        if not isinstance(plain, Mapping) or "arch" in plain.get("network", {}):
            raise TrainingError(f"{origin}: expected a table [recipe] as in a recipe, without the arch of [network]")
        recipes = {
            entry.name: tuple(_recipe(plain, entry, seed, f"{origin}: {entry.name}", folder) for seed in entry.seeds)
            for entry in entries
        }
        slugs = [recipe.name for each in recipes.values() for recipe in each]
        if len(set(slugs)) < len(slugs):
            raise TrainingError(f"{origin}: two networks would be trained in one folder; give clearer names")
        test = str(folder / head.test) if (folder / head.test).exists() else head.test
        return cls(name, head.title, test, entries, ensembles, recipes)


@dataclass(frozen=True, kw_only=True)
class _Head:
    title: str = text("a title")
    test: str = text("IMAGES that judge, as diorama:objects/test")


def known() -> list[str]:
    """The names of the comparisons that come with convscope."""
    return in_folder(FOLDER)


def _tables(kind: type[Any], data: Mapping[str, Any], key: str, origin: str) -> tuple[Any, ...]:
    given = data.get(key, [])
    if not isinstance(given, list):
        raise TrainingError(f"{origin}: '{key}' is no list of tables; write [[{key}]]")
    return tuple(table(kind, each, f"{origin}: [[{key}]] {number}") for number, each in enumerate(given, 1))


def _check_names(entries: Sequence[Entry], ensembles: Sequence[Ensemble], origin: str) -> None:
    """Raise where two rows have one name, or an ensemble has not two networks that are there."""
    called = [entry.name for entry in entries] + [ensemble.name for ensemble in ensembles]
    twice = next((each for each in called if called.count(each) > 1), None)
    if twice is not None:
        raise TrainingError(f"{origin}: two rows are called {twice!r}; the table needs different names")
    seeds_of = {entry.name: entry.seeds for entry in entries}
    for ensemble in ensembles:
        for member in ensemble.of:
            if member not in seeds_of:
                hint = nearest(member, seeds_of)
                raise TrainingError(f"{origin}: {ensemble.name}: there is no network {member!r}{hint}")
        if sum(len(seeds_of[member]) for member in ensemble.of) < 2:
            raise TrainingError(f"{origin}: {ensemble.name}: an ensemble takes two networks or seeds")


def _recipe(plain: Mapping[str, Any], entry: Entry, seed: int, origin: str, folder: Path) -> Recipe:
    data = {**plain, "network": {**plain.get("network", {}), "arch": entry.arch}, "seed": seed}
    return Recipe.read(data, _slug(entry.name, seed), origin, folder)


def _slug(name: str, seed: int) -> str:
    """The name of a folder."""
    return f"{re.sub(r'[^a-z0-9]+', '-', name.lower().replace('*', '-star-')).strip('-') or 'network'}-{seed}"


@dataclass(frozen=True)
class Compared:
    """A row of the table.

    Args:
        results: of each network, one a seed; or of the ensemble alone.
        parameters: of one network, or of all in an ensemble.
        seconds: that the training of all seeds took; 0 for an ensemble.
        validation: top-1 accuracy on the validation images, one a seed.
    """

    name: str
    arch: str | None
    results: tuple[Row, ...]
    parameters: int
    seconds: float
    validation: tuple[float, ...]

    def errors(self, which: str) -> list[float]:
        """``top1`` or ``top5`` errors, one a seed; empty where there are five classes or fewer."""
        found = [getattr(row, which) for row in self.results]
        return [each.error for each in found if each is not None]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "arch": self.arch,
            "parameters": self.parameters,
            "seconds": round(self.seconds, 1),
            "validation_top1": list(self.validation),
            "results": [
                {
                    "name": row.name,
                    "images": row.top1.images,
                    "top1_error": row.top1.error,
                    "top1_interval": list(row.top1.interval),
                    "top5_error": None if row.top5 is None else row.top5.error,
                    "top5_interval": None if row.top5 is None else list(row.top5.interval),
                }
                for row in self.results
            ],
        }


@dataclass(frozen=True)
class Result:
    """What a comparison found; it is also in ``comparison.json`` of the folder."""

    comparison: Comparison
    rows: tuple[Compared, ...]
    images: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        about = {"title": self.comparison.title, "test": self.comparison.test, "images": self.images}
        return about | {"rows": [row.to_json() for row in self.rows]}


def compare(
    comparison: Comparison | str | Path,
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    progress: Report = lambda progress: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Result:
    """Train all networks of a comparison into the folder `path`, judge them, and write what was found there.

    What is trained already is not trained again: the same call goes on after a kill.

    Args:
        comparison: one that was read, a TOML file, or the name of one of convscope's.
        threads: of PyTorch, as in `convscope.training.train`.
        progress: called after every step and batch.
        tell: called with a line for every network that is trained.

    Raises:
        TrainingError: the comparison makes no sense, or a training does not get on.
        NetworkError, ImagesError: as in `convscope.training.train` and `convscope.evaluate`.
    """
    comparison = comparison if isinstance(comparison, Comparison) else Comparison.open(comparison)
    folder = Path(path)
    trained, logs = {}, {}
    for entry in comparison.networks:
        for recipe in comparison.recipes[entry.name]:
            found = train(recipe, folder / recipe.name, device=device, threads=threads, progress=progress)
            trained[recipe.name] = _named(load(found.last, arch=entry.arch, device=device), entry, recipe)
            logs[recipe.name] = found
            tell(
                f"{trained[recipe.name].name}: {found.top1:.1%} of the validation images, {found.log['seconds']:.0f} s"
            )
    result = _judged(comparison, trained, logs, progress)
    shards.write(folder / RESULT, (json.dumps(result.to_json(), indent=1) + "\n").encode())
    return result


def _named(network: Network, entry: Entry, recipe: Recipe) -> Network:
    seed = f", seed {recipe.course.seed}" if len(entry.seeds) > 1 else ""
    return dataclasses.replace(network, name=entry.name + seed)


def _judged(
    comparison: Comparison, networks: Mapping[str, Network], trainings: Mapping[str, Trained], progress: Report
) -> Result:
    """A row for each network and each ensemble."""
    judged = evaluate(list(networks.values()), comparison.test, progress=progress)
    results = dict(zip(networks, judged.rows, strict=True))
    rows = []
    for entry in comparison.networks:
        slugs = [recipe.name for recipe in comparison.recipes[entry.name]]
        of, found = tuple(results[slug] for slug in slugs), [trainings[slug] for slug in slugs]
        seconds, top1 = sum(each.log["seconds"] for each in found), tuple(each.top1 for each in found)
        rows.append(Compared(entry.name, entry.arch, of, of[0].parameters, seconds, top1))
    for ensemble in comparison.ensembles:
        members = [networks[recipe.name] for name in ensemble.of for recipe in comparison.recipes[name]]
        mean = evaluate(members, comparison.test, ensemble=True, progress=progress).rows[-1]
        rows.append(Compared(ensemble.name, None, (mean,), mean.parameters, 0.0, ()))
    return Result(comparison, tuple(rows), judged.count)


def markdown(rows: Sequence[Compared]) -> str:
    """The table for a document: errors in percent, with the 95 % interval, or of several seeds their range."""
    lines = ["| network | parameters | top-1 error | top-5 error |", "|---|---:|---:|---:|"]
    for row in rows:
        cells = [row.name, f"{row.parameters:,}", cell(row, "top1"), cell(row, "top5")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(row: Compared, which: str) -> str:
    """An error in percent, with its interval; of several seeds the mean, with the least and the largest."""
    errors = row.errors(which)
    if not errors:
        return "–"
    if len(errors) > 1:
        mean = sum(errors) / len(errors)
        return f"{100 * mean:.1f} ({len(errors)} seeds: {100 * min(errors):.1f}–{100 * max(errors):.1f})"
    low, high = getattr(row.results[0], which).interval
    return f"{100 * errors[0]:.1f} ({100 * low:.1f}–{100 * high:.1f})"

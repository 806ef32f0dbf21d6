"""Weights come from files unchanged, nothing in a file is ever executed, and what does not fit is listed."""

from __future__ import annotations

import io
import os
import pickle
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convscope.checkpoint import put_weights, read_weights
from convscope.errors import NetworkError

SUFFIXES = [".safetensors", ".pt", ".pth"]


def small() -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), norm=nn.BatchNorm2d(2), head=nn.Linear(2, 3)))


def write(path: Path, weights: dict[str, Any]) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    source, target = small(), small()
    path = write(tmp_path / f"weights{suffix}", source.state_dict())
    put_weights(target, read_weights(path), "here")
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name]), name


def test_the_format_before_zip_is_read_as_well(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path / "old.pt").keys() == small().state_dict().keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    source, target = small(), small()
    weights = {name: each.to(dtype) if each.is_floating_point() else each for name, each in source.state_dict().items()}
    put_weights(target, read_weights(write(tmp_path / "half.safetensors", weights)), "here")
    assert target.conv.weight.dtype == torch.float32
    assert torch.equal(target.conv.weight, source.conv.weight.to(dtype).float())


# --- files that are not read ------------------------------------------------------------------------------------------


class Bomb:
    """Pickled, it makes a folder wherever it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("form", ["zip", "old", "plain pickle", "among weights"])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_pickle_with_code_is_refused_and_never_executed(tmp_path: Path, suffix: str, form: str) -> None:
    path, mark = tmp_path / f"bomb{suffix}", tmp_path / "executed"
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(Bomb(mark)))
    elif form == "among weights":
        torch.save({**small().state_dict(), "extra": Bomb(mark)}, path)
    else:
        torch.save(Bomb(mark), path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(NetworkError, match=r"It was not opened.*save torch\.save\(model\.state_dict\(\)") as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.is_dir(), "the bomb of this test does not work"


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "module.pt")
    with pytest.raises(NetworkError, match="Python objects beside weights"):
        read_weights(tmp_path / "module.pt")


def test_a_script_archive_is_refused_without_pytorchs_advice_to_run_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "script.pt")
    with pytest.raises(NetworkError, match=r"script\.pt: a TorchScript archive holds code") as caught:
        read_weights(tmp_path / "script.pt")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", ["empty", "text", "truncated", "start only"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, content: str) -> None:
    path = write(tmp_path / f"weights{suffix}", small().state_dict())
    whole = path.read_bytes()
    parts = {
        "empty": b"",
        "text": b"these are no weights",
        "truncated": whole[: -len(whole) // 3],
        "start only": whole[:9],
    }
    path.write_bytes(parts[content])
    with pytest.raises(NetworkError, match=f"weights{suffix}: "):
        read_weights(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_any_damage_is_a_network_error(tmp_path: Path, zipped: bool) -> None:
    """Damaged pickles make PyTorch raise KeyError, IndexError, struct.error, AssertionError and more."""
    buffer, random = io.BytesIO(), np.random.default_rng(0)
    torch.save(small().state_dict(), buffer, _use_new_zipfile_serialization=zipped)
    refused = 0
    for _ in range(150):
        data = bytearray(buffer.getvalue())
        for place in random.integers(0, min(len(data), 700), 3):
            data[place] = random.integers(0, 256)
        (tmp_path / "damaged.pt").write_bytes(data)
        try:
            read_weights(tmp_path / "damaged.pt")
        except NetworkError:
            refused += 1
    assert refused > 50


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    for name in ("none.safetensors", "none.pt", "folder.pt"):
        with pytest.raises(NetworkError, match=f"{name}: there is no such file"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({}, "found nothing"),
        ([torch.zeros(1)], "found list"),
        (torch.zeros(1), "found Tensor"),
        ({"state_dict": {"w": torch.zeros(1)}, "epoch": 3}, "found 'state_dict', 'epoch'"),
        ({"w": torch.zeros(1), "steps": 3}, "found 'w', 'steps'"),
        ({0: torch.zeros(1)}, "found 0"),
    ],
)
def test_other_things_than_a_state_dict_are_named(tmp_path: Path, data: Any, found: str) -> None:
    torch.save(data, tmp_path / "data.pt")
    with pytest.raises(NetworkError, match=f"expected a state dict of tensors, {found}"):
        read_weights(tmp_path / "data.pt")


# --- weights that do not fit -----------------------------------------------------------------------------------------


def test_what_does_not_fit_is_listed() -> None:
    weights: dict[str, Tensor] = dict(small().state_dict())
    del weights["conv.bias"]
    weights["head.weight"] = torch.zeros(5, 2)
    weights["tail.weight"] = torch.zeros(1)
    weights["head.bias"] = torch.zeros(3, dtype=torch.int8)
    with pytest.raises(NetworkError) as caught:
        put_weights(small(), weights, "here")
    message = str(caught.value)
    assert message.startswith("here: the weights do not fit the architecture; ")
    assert "1 missing: conv.bias" in message
    assert "1 unexpected: tail.weight" in message
    assert "1 of another shape: head.weight is (5, 2), expected (3, 2)" in message
    assert "1 of another type: head.bias is torch.int8, expected torch.float32" in message


def test_a_long_list_is_cut() -> None:
    with pytest.raises(NetworkError, match=r"9 unexpected: a0, a1, a2, a3 and 5 more$"):
        put_weights(nn.Flatten(), {f"a{i}": torch.zeros(1) for i in range(9)}, "here")


def test_nothing_is_copied_when_something_does_not_fit() -> None:
    module, weights = small(), dict(small().state_dict())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    del weights["conv.bias"]
    with pytest.raises(NetworkError):
        put_weights(module, weights, "here")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_the_count_of_batches_may_be_left_out() -> None:
    weights = small().state_dict()
    del weights["norm.num_batches_tracked"]
    target = small()
    put_weights(target, weights, "here")
    assert torch.equal(target.norm.weight, weights["norm.weight"])
    del weights["norm.running_mean"]
    with pytest.raises(NetworkError, match=r"1 missing: norm\.running_mean"):
        put_weights(target, weights, "here")

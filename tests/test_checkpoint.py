"""Weights come from files unchanged, nothing in a file is ever executed, and what does not fit is listed."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from convscope.checkpoint import SUFFIXES, load_weights, put_weights, read_weights
from convscope.errors import NetworkError


def small() -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), norm=nn.BatchNorm2d(2), head=nn.Linear(2, 3)))


def write(path: Path, weights: dict[str, Any]) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def same(first: nn.Module, second: nn.Module) -> bool:
    weights = second.state_dict()
    return all(torch.equal(tensor, weights[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    source, target = small(), small()
    path = write(tmp_path / f"weights{suffix}", source.state_dict())
    assert load_weights(target, path) == ()
    assert same(source, target)


def test_the_format_before_zip_is_read_as_well(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (weights,) = read_weights(tmp_path / "old.pt")
    assert weights.tensors.keys() == small().state_dict().keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    source, target = small(), small()
    weights = {name: each.to(dtype) if each.is_floating_point() else each for name, each in source.state_dict().items()}
    load_weights(target, write(tmp_path / "half.safetensors", weights))
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
    with pytest.raises(NetworkError, match=r"Python objects \([\w.]+\) beside weights"):
        read_weights(tmp_path / "module.pt")


def test_a_script_archive_is_refused_without_pytorchs_advice_to_run_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "script.pt")
    with pytest.raises(NetworkError, match=r"script\.pt: a TorchScript archive holds code") as caught:
        read_weights(tmp_path / "script.pt")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
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
        ({"state_dict": {"w": torch.zeros(1), "steps": 3}, "epoch": 3}, "found 'state_dict', 'epoch'"),
        ({"a": {"b": {"c": {"d": {"e": {"w": torch.zeros(1)}}}}}}, "found 'a'"),
        ({"w": torch.zeros(1), "steps": 3}, "found 'w', 'steps'"),
        ({0: torch.zeros(1)}, "found 0"),
    ],
)
def test_other_things_than_a_state_dict_are_named(tmp_path: Path, data: Any, found: str) -> None:
    torch.save(data, tmp_path / "data.pt")
    with pytest.raises(NetworkError, match=f"expected a state dict of tensors, {found}"):
        read_weights(tmp_path / "data.pt")


def test_the_refusal_names_what_else_is_in_the_file(tmp_path: Path) -> None:
    """As in the checkpoints of timm and of torchvision's recipes, which hold the arguments of the command."""
    torch.save({"state_dict": small().state_dict(), "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pth")
    with pytest.raises(NetworkError, match=r"holds Python objects \(argparse\.Namespace\) beside weights"):
        read_weights(tmp_path / "a.pth")


# --- checkpoints of training runs ------------------------------------------------------------------------------------


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def optimiser(module: nn.Module) -> dict[str, Any]:
    """The state of an optimiser that has made a step, which holds tensors under names of its own."""
    adam = torch.optim.Adam(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    adam.step()
    return adam.state_dict()


def compiled_inside(module: nn.Sequential) -> nn.Module:
    return nn.Sequential(
        OrderedDict(conv=torch.compile(module.conv, backend="eager"), norm=module.norm, head=module.head)
    )


LAYOUTS: dict[str, Callable[[nn.Sequential], Any]] = {
    "DataParallel": lambda net: nn.DataParallel(net).state_dict(),
    "DataParallel inside": lambda net: nn.Sequential(
        OrderedDict(conv=nn.DataParallel(net.conv), norm=net.norm, head=net.head)
    ).state_dict(),
    "compiled": lambda net: torch.compile(net, backend="eager").state_dict(),
    "compiled inside": lambda net: compiled_inside(net).state_dict(),
    "DataParallel of compiled": lambda net: nn.DataParallel(torch.compile(net, backend="eager")).state_dict(),
    "average": lambda net: AveragedModel(net).state_dict(),
    "nested": lambda net: {"epoch": 3, "model": net.state_dict(), "optimizer": optimiser(net), "loss": 0.5},
    "deeper": lambda net: {"states": {"net": {"weights": net.state_dict()}}, "best": None},
    "ImageNet example": lambda net: {
        "epoch": 9, "arch": "resnet18", "state_dict": nn.DataParallel(net).state_dict(),
        "best_acc1": torch.tensor(70.0), "optimizer": optimiser(net), "scheduler": {"base_lrs": [0.1], "last_epoch": 9},
    },
    "Lightning": lambda net: {
        "epoch": 4, "global_step": 500, "pytorch-lightning_version": "2.5.0", "state_dict": prefixed("model.", net),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 5}}}},
        "callbacks": {"ModelCheckpoint": {"best_k_models": {"a.ckpt": torch.tensor(0.3)}, "best_model_path": "a.ckpt"}},
        "optimizer_states": [optimiser(net)], "lr_schedulers": [], "hyper_parameters": {"lr": 0.1},
    },
    "Lightning of DataParallel of compiled": lambda net: {
        "state_dict": prefixed("net.", nn.DataParallel(torch.compile(net, backend="eager")))
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # DataParallel, on machines where a device is small
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_layouts_of_training_runs(tmp_path: Path, layout: str, suffix: str) -> None:
    source, target = small(), small()
    data = LAYOUTS[layout](source)
    if suffix == ".safetensors" and not all(isinstance(value, Tensor) for value in data.values()):
        data = data.get("state_dict", source.state_dict())  # it holds no more than tensors
    assert not same(source, target)
    assert load_weights(target, write(tmp_path / f"run{suffix}", data)) == ()
    assert same(source, target)


EMA_LAYOUTS: dict[str, Callable[[nn.Module, nn.Module], Any]] = {
    "timm": lambda net, ema: {"state_dict": net.state_dict(), "state_dict_ema": ema.state_dict(), "version": 2},
    "torchvision": lambda net, ema: {"model": net.state_dict(), "model_ema": AveragedModel(ema).state_dict()},
    "EMA first": lambda net, ema: {"ema_state_dict": ema.state_dict(), "net": prefixed("module.", net)},
    "in one dictionary": lambda net, ema: {"state_dict": prefixed("net.", net) | prefixed("ema_net.module.", ema)},
}


@pytest.mark.parametrize("layout", EMA_LAYOUTS)
def test_of_weights_and_their_average_the_average_is_taken_and_that_is_said(tmp_path: Path, layout: str) -> None:
    plain, average, target = small(), small(), small()
    torch.save(EMA_LAYOUTS[layout](plain, average), tmp_path / "run.pt")
    (remark,) = load_weights(target, tmp_path / "run.pt")
    assert same(average, target)
    assert not same(plain, target)
    assert remark.startswith("run.pt holds trained weights and their running average (")
    assert remark.endswith("the average is taken")


@pytest.mark.parametrize("names", [("student", "teacher"), ("G", "D"), ("ema_a", "ema_b"), ("net", "ema", "swa")])
def test_several_that_fit_and_cannot_be_told_apart_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    torch.save({name: small().state_dict() for name in names}, tmp_path / "a.pt")
    with pytest.raises(
        NetworkError, match=rf"a\.pt: {len(names)} sets of weights in it fit .*save the one alone"
    ) as error:
        load_weights(small(), tmp_path / "a.pt")
    assert all(f"['{name}']" in str(error.value) for name in names)
    torch.save(prefixed("a.", small()) | prefixed("b.", small()), tmp_path / "b.pt")
    with pytest.raises(NetworkError, match=r"2 sets of weights .*a\.\* and b\.\*"):
        load_weights(small(), tmp_path / "b.pt")


def test_the_one_that_fits_is_taken_among_others(tmp_path: Path) -> None:
    source, target = small(), small()
    other = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 5, 3)))
    torch.save({"teacher": other.state_dict(), "student": source.state_dict()}, tmp_path / "a.pt")
    assert load_weights(target, tmp_path / "a.pt") == ()
    assert same(source, target)


def test_what_is_left_out_beside_a_prefix_is_said(tmp_path: Path) -> None:
    source, target = small(), small()
    torch.save({"state_dict": prefixed("model.", source) | {"criterion.weight": torch.ones(3)}}, tmp_path / "a.ckpt")
    (remark,) = load_weights(target, tmp_path / "a.ckpt")
    assert remark == "a.ckpt: of ['state_dict'] model.* and criterion.weight in it, only the first is used"
    assert same(source, target)


def test_names_of_the_architecture_itself_are_no_wrappers(tmp_path: Path) -> None:
    """A part of the network that is called `module`, with a sibling that would get the same name without it."""
    source, target = (nn.Sequential(OrderedDict(module=small(), conv=nn.Conv2d(1, 1, 1))) for _ in range(2))
    torch.save(source.state_dict(), tmp_path / "a.pt")
    assert load_weights(target, tmp_path / "a.pt") == ()
    assert same(source, target)


def test_two_weights_of_one_name_are_refused(tmp_path: Path) -> None:
    """Without the names of wrappers, the second would take the place of the first."""
    torch.save(small().state_dict() | prefixed("module.", small()), tmp_path / "a.pt")
    with pytest.raises(NetworkError, match=r"9 unexpected: module\.\* \(9\)"):
        load_weights(small(), tmp_path / "a.pt")


def test_more_than_the_architecture_at_the_top_is_refused(tmp_path: Path) -> None:
    """A copy further in fits by itself, but then the weights at the top would be left out."""
    torch.save(small().state_dict() | prefixed("ema.", small()), tmp_path / "a.pt")
    with pytest.raises(NetworkError, match=r"9 unexpected: ema\.\* \(9\)"):
        load_weights(small(), tmp_path / "a.pt")


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
    weights = small().state_dict() | {f"a{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(NetworkError, match=r"9 unexpected: a0, a1, a2, a3 and 5 more$"):
        put_weights(small(), weights, "here")


def deep(classes: int = 4, channels: int = 3) -> nn.Sequential:
    blocks = [nn.Sequential(OrderedDict(conv=nn.Conv2d(channels if not i else 2, 2, 3), norm=nn.BatchNorm2d(2)))
              for i in range(6)]  # fmt: skip
    return nn.Sequential(OrderedDict(body=nn.Sequential(*blocks), fc=nn.Linear(2, classes)))


def complaint(module: nn.Module, weights: dict[str, Tensor], tmp_path: Path) -> str:
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(NetworkError) as caught:
        load_weights(module, tmp_path / "a.pt")
    return str(caught.value).partition("; ")[2]


def test_names_of_whole_modules_are_one(tmp_path: Path) -> None:
    weights = {name: each for name, each in deep().state_dict().items() if not name.startswith(("body.2.", "body.4.n"))}
    text = complaint(deep(), weights | {"body.0.extra.a": torch.ones(1), "body.0.extra.b": torch.ones(1)}, tmp_path)
    assert text == "10 missing: body.2.* (6), body.4.norm.* (4); 2 unexpected: body.0.extra.* (2)"


def test_a_file_of_another_architecture_shows_names_of_both(tmp_path: Path) -> None:
    text = complaint(nn.Sequential(nn.Linear(2, 2)), deep().state_dict(), tmp_path)
    assert text.startswith("no name is that of one: it has 0.weight, 0.bias, and the file body.0.conv.weight, ")


@pytest.mark.parametrize(
    ("module", "weights", "hint"),
    [
        (deep(), deep(classes=7), 'perhaps it is for 7 classes, not 4: name them in the JSON beside it ("classes")'),
        (deep(), deep(channels=1), 'perhaps it is for 1 channels, not 3: say so in the JSON ("channels")'),
        (deep(), deep(channels=1, classes=7), None),
        (nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5), None),
    ],
)
def test_other_classes_and_channels_are_recognised(
    module: nn.Module, weights: nn.Module, hint: str | None, tmp_path: Path
) -> None:
    text = complaint(module, prefixed("model.", weights), tmp_path)
    assert "of another shape: " in text
    assert text.endswith(hint) if hint else "perhaps" not in text


def test_the_closest_of_several_is_compared(tmp_path: Path) -> None:
    torch.save({"other": {"x": torch.ones(1)}, "net": prefixed("module.", deep(7)), "z": 1}, tmp_path / "a.pt")
    with pytest.raises(
        NetworkError, match=r"a\.pt\['net'\] module\.\*: the weights do not fit .* 2 of another shape: fc"
    ):
        load_weights(deep(), tmp_path / "a.pt")


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

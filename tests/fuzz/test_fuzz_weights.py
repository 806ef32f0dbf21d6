"""Fuzzing of files of weights: safetensors with damaged headers, archives and pickles of PyTorch, states of shards."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import altered, damaged, fuzz, outcome
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from convscope.checkpoint import load_weights, read_weights
from convscope.errors import AtlasError, NetworkError
from convscope.shards import ShardState

pytestmark = pytest.mark.usefixtures("one_thread")

TENSORS = {
    "0.weight": torch.arange(12.0).reshape(3, 4),
    "0.bias": torch.tensor([0.5, -1.0, 2.0]),
    "2.weight": torch.arange(6.0).reshape(2, 3),
    "2.bias": torch.zeros(2),
}
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64,
}  # fmt: skip
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 6, 12, 1 << 32, 1 << 62, 1 << 64, -1]), max_size=4)
OFFSETS = st.sampled_from([0, 1, 8, 12, 20, 24, 48, 60, 84, 92, 1 << 31, 1 << 63, (1 << 64) - 1, -1])
FIELDS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*BITS, "F32", "F32", "X9"]),
        "shape": SHAPES,
        "data_offsets": st.lists(OFFSETS, min_size=2, max_size=2),
    }
)


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


@st.composite
def safetensors_files(draw: st.DrawFn, good: bytes) -> bytes:
    """The good file with damage, a header whose JSON is altered, or a wrong length of it."""
    kind = draw(st.sampled_from(["bytes", "json", "field", "field", "length", "tail", "deep", "doubled", "swapped"]))
    header, body = parts(good)
    if kind == "bytes":
        return draw(damaged(good))
    names = st.sampled_from([name for name in header if name != "__metadata__"])
    text = None
    if kind == "json":
        header = draw(altered(header))
    elif kind == "field":
        name, new = draw(names), draw(FIELDS)
        key = draw(st.sampled_from(sorted(new)))
        header[name][key] = new[key]
    elif kind == "swapped":
        one, other = draw(names), draw(names)
        key = draw(st.sampled_from(["data_offsets", "shape", "dtype"]))
        header[one][key], header[other][key] = header[other][key], header[one][key]
    elif kind == "tail":
        body = draw(st.sampled_from([body[:-1], body + b"\0", b"", body * 2]))
    elif kind == "deep":
        depth = draw(st.sampled_from([10, 120, 130, 980, 990, 995, 3000, 100_000]))
        text = json.dumps(header).encode()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"
    elif kind == "doubled":
        text = json.dumps(header).encode()[:-1] + f',"{draw(names)}":{json.dumps(draw(FIELDS))}}}'.encode()
    text = json.dumps(header).encode() if text is None else text
    length = len(text)
    if kind == "length":
        length = draw(st.sampled_from([0, 1, length - 1, length + 1, 1 << 31, 1 << 63, (1 << 64) - 1, 100_000_001]))
    return length.to_bytes(8, "little") + text + body


def slow_tensors(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of each tensor, by the documentation of the format."""
    header, body = parts(data)
    header.pop("__metadata__", None)
    ranges = sorted(tuple(field["data_offsets"]) for field in header.values())
    ends = [0, *(end for _, end in ranges)]
    assert [start for start, _ in ranges] == ends[:-1], "tensors overlap, or there are holes between them"
    assert ends[-1] == len(body)
    for field in header.values():
        (start, end), count = field["data_offsets"], math.prod(field["shape"])
        assert all(type(side) is int and side >= 0 for side in field["shape"])
        assert count * BITS[field["dtype"]] == 8 * (end - start)
    return {
        name: (field["dtype"], tuple(field["shape"]), body[slice(*field["data_offsets"])])
        for name, field in header.items()
    }


def raw(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Equal bit by bit."""
    return found.keys() == expected.keys() and all(
        (found[name].dtype, found[name].shape, raw(found[name])) == (tensor.dtype, tensor.shape, raw(tensor))
        for name, tensor in expected.items()
    )


def loads(path: Path) -> bool:
    """Whether the weights get into the network; where they do not, it says why."""
    network = module()
    _, refusal = outcome(lambda: load_weights(network, path), NetworkError)
    if refusal is not None:
        assert str(path) in refusal
        return False
    assert all(tensor.shape == TENSORS[name].shape for name, tensor in network.state_dict().items())
    return True


@fuzz(data=safetensors_files(save(TENSORS, {"format": "pt"})))
def test_safetensors_are_what_the_header_says_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    found, refusal = outcome(lambda: read_weights(path), NetworkError)
    if refusal is not None:
        assert str(path) in refusal
        assert not loads(path)
        return
    (weights,) = found
    expected = slow_tensors(data)
    assert weights.tensors.keys() == expected.keys()
    for name, (dtype, shape, content) in expected.items():
        tensor = weights.tensors[name]
        assert raw(tensor) == content
        if dtype != "F4":  # two of them are one number to PyTorch
            assert tuple(tensor.shape) == shape
            assert tensor.element_size() * 8 == BITS[dtype]
    loads(path)


def zipped(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def legacy(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@st.composite
def repacked(draw: st.DrawFn, good: bytes) -> bytes:
    """The archive with damage inside one of its files, and right checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(buffer, "w") as new:
        chosen = draw(st.sampled_from(old.namelist()))
        for name in old.namelist():
            new.writestr(name, draw(damaged(old.read(name))) if name == chosen else old.read(name))
    return buffer.getvalue()


@fuzz(data=damaged(zipped(TENSORS)))
def test_an_archive_of_pytorch_holds_what_was_written_or_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(data)
    found, refusal = outcome(lambda: read_weights(path), NetworkError)
    if refusal is not None:
        assert str(path) in refusal
        return
    (weights,) = found
    assert same(weights.tensors, TENSORS)


@fuzz(data=repacked(zipped(TENSORS)) | damaged(legacy(TENSORS)) | damaged(pickle.dumps({"a": [1.5, "x"]})))
def test_no_pickle_ends_in_anything_but_an_error_or_weights(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(data)
    loads(path)


STATE = ShardState(
    {"conv|topk|ids": torch.tensor([[3, 1]]), "conv|moments|total": torch.tensor([0.1, -2.0], dtype=torch.float64)},
    {"tally": {"read": 3, "skipped": [{"name": "ü"}], "digest": "ab"}, "folded": ["k0", "k1"]},
)


@fuzz(data=safetensors_files(STATE.to_bytes()))
def test_the_state_of_a_shard_is_what_was_written_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "shard-k.safetensors"
    path.write_bytes(data)
    state, refusal = outcome(lambda: ShardState.read(path), AtlasError)
    if refusal is not None:
        assert f"{path}: damaged" in refusal
        return
    assert same(state.tensors, STATE.tensors)
    assert state.meta == STATE.meta

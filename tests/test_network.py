"""Networks: every way to name one, what is said where that fails, and what makes two of them the same."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convscope import zoo
from convscope.capture import run
from convscope.errors import NetworkError
from convscope.network import Network, load, logits, wrap
from convscope.preprocess import Preprocess
from convscope.recorder import record

CARD = {"size": [32, 32], "channels": "L", "mean": [0.25], "std": [0.5]}
PREPROCESS = Preprocess(size=(32, 32), channels="L", mean=(0.25,), std=(0.5,))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights of LeNet-5 that are all 0.5, without a JSON beside them."""
    path = tmp_path / "weights.safetensors"
    save_file({name: torch.full_like(each, 0.5) for name, each in zoo.lenet5().state_dict().items()}, path)
    return path


def write_card(path: Path, **more: Any) -> Path:
    path.write_text(json.dumps(CARD | more))
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable module `factories` with factories that do and that do not work; and its name."""
    (tmp_path / "factories.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def good(): return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(), nn.Flatten(), nn.Linear(1800, 2))\n"
        "def parallel(): return nn.DataParallel(good())\n"
        "def broken(): raise RuntimeError('no luck')\n"
        "def needy(size): return good()\n"
        "def wrong(): return 'a network'\n"
        "number = 3\n"
    )
    (tmp_path / "explosive.py").write_text("raise SyntaxWarning('at import')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("factories", "explosive"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "factories"


def message(call: Callable[[], Any]) -> str:
    with pytest.raises(NetworkError) as caught:
        call()
    return str(caught.value)


# --- load: what it gives ---------------------------------------------------------------------------------------------


SMALL = [f"{name}:width=0.1" if zoo.WIDTH in entry.options else name for name, entry in zoo.ARCHITECTURES.items()]


@pytest.mark.parametrize("name", SMALL)
def test_a_name_of_the_zoo_has_random_weights_that_are_always_the_same(name: str) -> None:
    network = load(name)
    assert network.name == name
    assert network.preprocess == zoo.ARCHITECTURES[name.partition(":")[0]].preprocess
    assert network.classes is None
    assert network.output == "softmax"
    assert network.remarks == ("its weights are random",)
    assert network.fingerprint == load(name).fingerprint
    with torch.no_grad():
        assert logits(network.module(network.example())).shape[0] == 1


def test_the_embedded_network() -> None:
    network = load("digits:lenet5")
    assert network.name == "digits:lenet5"
    assert network.classes == tuple("0123456789")
    assert network.preprocess.shape == (1, 32, 32)
    assert network.fingerprint != load("lenet5", preprocess=network.preprocess).fingerprint


def test_a_checkpoint_with_the_json_beside_it(checkpoint: Path) -> None:
    write_card(checkpoint.with_suffix(".json"), output="sigmoid", classes=list("abcdefghij"))
    network = load(checkpoint, arch="lenet5")
    assert network.name == "weights"
    assert network.preprocess == PREPROCESS
    assert network.output == "sigmoid"
    assert network.classes == tuple("abcdefghij")
    assert all((tensor == 0.5).all() for tensor in network.module.parameters())


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_checkpoint_of_pytorch(tmp_path: Path, suffix: str) -> None:
    torch.save(zoo.lenet5().state_dict(), tmp_path / f"a{suffix}")
    write_card(tmp_path / "a.json")
    assert load(str(tmp_path / f"a{suffix}"), arch="lenet5").name == "a"


@pytest.mark.parametrize("form", ["path", "text", "dict", "Preprocess"])
def test_preprocessing_as_an_argument_comes_before_the_json_beside(checkpoint: Path, form: str) -> None:
    write_card(checkpoint.with_suffix(".json"), mean=[0.75])
    path = write_card(checkpoint.parent / "other.json")
    given = {"path": path, "text": str(path), "dict": CARD, "Preprocess": PREPROCESS}[form]
    assert load(checkpoint, arch="lenet5").preprocess.mean == (0.75,)
    network = load(checkpoint, arch="lenet5", preprocess=given)
    assert network.preprocess == PREPROCESS
    json.dumps(network.spec)  # goes into run.json


def test_a_factory_as_network_and_as_architecture(checkpoint: Path, package: str) -> None:
    network = load(f"{package}:good", preprocess=PREPROCESS)
    assert network.name == "factories:good"
    assert isinstance(network.module, nn.Sequential)
    assert isinstance(load(f"{package}:parallel", preprocess=PREPROCESS).module, nn.Sequential)
    save_file(network.module.state_dict(), checkpoint)
    again = load(checkpoint, arch=f"{package}:good", preprocess=PREPROCESS)
    assert again.fingerprint == network.fingerprint


@pytest.mark.parametrize("spec", ["digits:lenet5", "lenet5", "factories:good", "checkpoint"])
def test_a_network_is_built_again_from_its_spec(checkpoint: Path, package: str, spec: str) -> None:
    if spec == "checkpoint":
        network = load(checkpoint, arch="lenet5", preprocess=PREPROCESS)
    else:
        network = load(spec, preprocess=PREPROCESS if spec == f"{package}:good" else None)
    assert network.spec is not None
    again = load(**json.loads(json.dumps(network.spec)))
    assert again.fingerprint == network.fingerprint
    assert (again.name, again.classes, again.output) == (network.name, network.classes, network.output)


@pytest.mark.parametrize("spec", ["lenet5", "digits:lenet5", "factories:good"])
def test_loading_leaves_the_users_random_numbers_alone(
    package: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seeded(seed: int) -> None:
        raise AssertionError("the accelerator's generator was seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    before = torch.get_rng_state()
    network = load(spec, preprocess=PREPROCESS)
    network.example()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert load(spec, preprocess=PREPROCESS).fingerprint == network.fingerprint


def test_what_was_loaded_is_in_evaluation_mode_and_what_was_wrapped_keeps_its_mode(package: str) -> None:
    assert not any(each.training for each in load(f"{package}:good", preprocess=PREPROCESS).module.modules())
    module = nn.Sequential(nn.Dropout(), nn.Linear(2, 2).eval())
    modes = [each.training for each in module.modules()]
    wrap(module, preprocess=PREPROCESS)
    assert [each.training for each in module.modules()] == modes


# --- load: what it says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("squeezenet", "squeezenet1_0"), ("squeezenet1_1", "squeezenet1_0"), ("lenet", "lenet5"),
        ("digits:lenet", "digits:lenet5"), ("digit:lenet5", "digits:lenet5"),
    ],
)  # fmt: skip
def test_close_matches_of_a_misspelt_network(wrong: str, right: str) -> None:
    text = message(lambda: load(wrong))
    assert repr(wrong) in text
    assert f"'{right}'" in text.partition("did you mean")[2]


def test_a_name_unlike_any_lists_what_there_is() -> None:
    text = message(lambda: load("qqqqqq"))
    assert "did you mean" not in text
    for part in ("lenet5", "squeezenet1_0", "digits:lenet5", ".safetensors", "package.module:factory"):
        assert part in text


def test_a_misspelt_architecture_is_offered_architectures_only(checkpoint: Path) -> None:
    text = message(lambda: load(checkpoint, arch="lenet4", preprocess=CARD))
    assert "there is no architecture 'lenet4'; did you mean 'lenet5'" in text
    assert "digits:" not in text
    assert "did you mean 'lenet5'" in message(lambda: load(checkpoint, arch="digits:lenet5", preprocess=CARD))


def test_weights_without_an_architecture(checkpoint: Path) -> None:
    text = message(lambda: load(checkpoint))
    assert str(checkpoint) in text
    assert "--arch" in text
    assert "squeezenet1_0" in text


def test_weights_of_another_architecture(checkpoint: Path) -> None:
    text = message(lambda: load(checkpoint, arch="squeezenet1_0", preprocess=CARD))
    assert text.startswith(f"{checkpoint}: the weights do not fit the architecture; no name is that of one: it has ")
    assert "features.0.weight" in text
    assert "c1.weight" in text


def test_nothing_beside_the_weights(checkpoint: Path) -> None:
    text = message(lambda: load(checkpoint, arch="lenet5"))
    assert "there is no weights.json beside it" in text
    assert "--preprocess FILE" in text
    example = json.loads(text[text.index("{") :])
    assert Preprocess.from_json(example).size == (224, 224)


def test_a_checkpoint_that_is_not_there_is_said_first(tmp_path: Path) -> None:
    for arch in ("lenet5", None):
        assert message(lambda arch=arch: load(tmp_path / "a.pt", arch=arch)).endswith("a.pt: there is no such file")


@pytest.mark.parametrize("spec", ["lenet5", "digits:lenet5", "factories:good"])
def test_an_architecture_without_weights_for_it(package: str, spec: str) -> None:
    text = message(lambda: load(spec, arch="lenet5", preprocess=CARD))
    assert text.startswith(f"'{spec}' is not a checkpoint")


def test_a_factory_without_preprocessing(package: str) -> None:
    assert "--preprocess FILE" in message(lambda: load(f"{package}:good"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("factories:missing", "cannot import 'missing' from 'factories' (AttributeError"),
        ("no_such_package.module:f", "cannot import 'f' from 'no_such_package.module' (ModuleNotFoundError"),
        ("explosive:f", "cannot import 'f' from 'explosive' (SyntaxWarning: at import)"),
        (":f", "cannot import 'f' from ''"),
        (".relative:f", "cannot import 'f' from '.relative'"),
        ("factories:", "cannot import '' from 'factories'"),
        ("factories:broken", "factories:broken() raised RuntimeError: no luck"),
        ("factories:needy", "factories:needy() raised TypeError"),
        ("factories:number", "factories:number() raised TypeError"),
        ("factories:wrong", "factories:wrong() gave a str, not a torch.nn.Module"),
    ],
)
def test_a_factory_that_does_not_work(package: str, spec: str, said: str) -> None:
    assert said in message(lambda: load(spec, preprocess=CARD))


@pytest.mark.parametrize("device", ["nonsense", "cuda:77"])
def test_a_device_that_is_not_there(device: str) -> None:
    assert f"cannot be moved to device '{device}'" in message(lambda: load("lenet5", device=device))


# --- the JSON --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not readable as JSON"),
        ("[1, 2]", "expected a JSON object, found list"),
        ("{}", "'size' is missing"),
        ('{"size": [8, 8], "output": "argmax"}', "'output' is 'argmax'; expected one of softmax, sigmoid, real"),
        ('{"size": [8, 8], "output": ["softmax"]}', "'output' is ['softmax']"),
        ('{"size": [8, 8], "classes": [1, 2]}', "'classes' is [1, 2]"),
        ('{"size": [8, 8], "classes": []}', "'classes' is []"),
        ('{"size": [8, 8], "classes": {"a": 1}}', "'classes' is {'a': 1}"),
        ('{"size": [8, 8], "classes": "none.csv"}', "none.csv: not readable as a CSV of classes"),
        ('{"size": [8, 8], "class": []}', "unknown key 'class'"),
    ],
)
def test_a_wrong_json_is_named(tmp_path: Path, checkpoint: Path, content: str, said: str) -> None:
    path = tmp_path / "weights.json"
    path.write_text(content)
    text = message(lambda: load(checkpoint, arch="lenet5"))
    assert said in text
    assert str(tmp_path) in text
    assert message(lambda: load(checkpoint, arch="lenet5", preprocess=path)) == text


def test_a_json_that_is_not_there_or_not_text(tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "card.json"
    assert message(lambda: load(checkpoint, arch="lenet5", preprocess=path)) == f"{path}: there is no such file"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not readable as JSON" in message(lambda: load(checkpoint, arch="lenet5", preprocess=path))


def test_classes_from_a_csv_beside_the_json(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    folder.mkdir()
    # Out of order, with a column too many, and with the mark of byte order that spreadsheets write.
    (tmp_path / "names.csv").write_text("index,wnid,name,more\n1,n02,dog,x\n0,n01,cat,y\n2,,bird,z\n", "utf-8-sig")
    card = write_card(folder / "card.json", classes="../names.csv")
    network = load("lenet5", preprocess=card)
    assert network.classes == ("cat", "dog", "bird")
    assert network.synonyms == {"n01": 0, "n02": 1}


def test_weights_for_another_number_of_classes_than_the_card_names(tmp_path: Path, checkpoint: Path) -> None:
    card = write_card(tmp_path / "card.json", classes=["cat", "dog", "bird"])
    assert "output.bias is (10,), expected (3,)" in message(lambda: load(checkpoint, arch="lenet5", preprocess=card))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name\ncat\n", "index"),
        ("index,label\n0,cat\n", "name"),
        ("index,name\n0,cat\n2,dog\n", "its indices are not 0, 1, 2"),
        ("index,name\n0,cat\n0,dog\n", "its indices are not 0, 1, 2"),
        ("index,name\none,cat\n", "one"),
        ("index,name\n0\n", "class 0 has no name"),
        ("index,name\n0,cat\n1,\n", "class 1 has no name"),
        ("index,name\n", "its indices are not"),
        ("", "its indices are not"),
        ('index,name\n0,"cat\n', "Error"),
    ],
)
def test_a_wrong_csv_of_classes_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "names.csv"
    path.write_text(content)
    text = message(lambda: wrap(nn.Flatten(), preprocess=CARD, classes=str(path)))
    assert text.startswith(f"{path}: not readable as a CSV of classes with columns index and name (")
    assert said in text.partition("(")[2]


# --- wrap ------------------------------------------------------------------------------------------------------------


def test_wrap_keeps_what_it_is_given() -> None:
    module = nn.Flatten()
    network = wrap(module, preprocess=PREPROCESS, classes=["a", "b"], output="real", name="mine")
    assert network.module is module
    assert (network.preprocess, network.classes, network.output) == (PREPROCESS, ("a", "b"), "real")
    assert (network.name, network.spec, network.synonyms) == ("mine", None, None)
    assert wrap(module, preprocess=PREPROCESS).name == "Flatten"


def test_arguments_of_wrap_come_before_the_json(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("index,wnid,name\n0,n01,cat\n1,n02,dog\n")
    card = write_card(tmp_path / "card.json", output="sigmoid", classes="names.csv")
    told = wrap(nn.Flatten(), preprocess=card)
    assert (told.output, told.classes, told.synonyms) == ("sigmoid", ("cat", "dog"), {"n01": 0, "n02": 1})
    assert wrap(nn.Flatten(), preprocess=card, output="softmax").output == "softmax"
    named = wrap(nn.Flatten(), preprocess=card, classes=("x", "y"))
    assert (named.classes, named.synonyms) == (("x", "y"), None)


def test_wrap_refuses_what_makes_no_sense() -> None:
    module = nn.Flatten()
    assert "'output' is 'argmax'" in message(lambda: wrap(module, preprocess=CARD, output="argmax"))
    assert "'classes' is [0, 1]" in message(lambda: wrap(module, preprocess=CARD, classes=range(2)))  # type: ignore[arg-type]
    assert "not a function" in message(lambda: wrap(message, preprocess=CARD))  # type: ignore[arg-type]
    for wrong, key in [({"channels": "XYZ"}, "channels"), ({"interpolation": "cubic"}, "interpolation")]:
        preprocess = replace(PREPROCESS, **wrong)
        assert f"'{key}' is" in message(lambda preprocess=preprocess: wrap(module, preprocess=preprocess))


def test_a_preprocess_with_lists_is_taken_as_the_same() -> None:
    loose = Preprocess(size=[32, 32], channels="L", mean=[0.25], std=0.5)  # type: ignore[arg-type]
    assert wrap(nn.Flatten(), preprocess=loose).preprocess == PREPROCESS


def test_wrappers_are_taken_off() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    compiled = torch.compile(module, backend="eager")
    for wrapped in (nn.DataParallel(module), compiled, nn.DataParallel(compiled)):
        assert wrap(wrapped, preprocess=PREPROCESS).module is module


class Parts(nn.Module):
    """A body, which the tests wrap or compile, and a head."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def body() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())


def in_place(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


CONV = nn.Conv2d(1, 2, 3)
COMPILED: dict[str, Callable[[], nn.Module]] = {
    "a part": lambda: Parts(torch.compile(body(), backend="eager")),
    "a function": lambda: Parts(torch.compile(lambda x: CONV(x).relu(), backend="eager")),
    "in place": lambda: in_place(Parts(body())),
    "a part in place": lambda: Parts(in_place(body())),
    "DataParallel inside": lambda: Parts(nn.DataParallel(body())),
    "a graph of torch.fx": lambda: torch.fx.symbolic_trace(Parts(body())),
}


@pytest.mark.parametrize("form", COMPILED)
def test_what_is_compiled_or_wrapped_inside_is_read_as_it_is_written(form: str) -> None:
    """Both before and after it was compiled for real, by a first call."""
    module = COMPILED[form]().eval()
    network = wrap(module, preprocess=PREPROCESS)
    assert network.module is module
    images, before = network.example(2), str(module)
    for _ in range(2):
        graph = record(module, network.example())
        conv, head = graph.layers()
        assert conv.nonlinearity == "relu"
        seen: dict[int, Tensor] = {}
        with torch.no_grad():
            result = run(module, images, graph, {each.response: keep(seen, each.response) for each in (conv, head)})
            expected = module(images)
        torch.testing.assert_close(result, expected)
        torch.testing.assert_close(seen[head.response], expected)
        assert seen[conv.response].shape == (2, 2, 30, 30)
    assert str(module) == before


def keep(seen: dict[int, Tensor], value: int) -> Callable[[Tensor], None]:
    return lambda tensor: seen.update({value: tensor.clone()})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript is deprecated
@pytest.mark.parametrize("form", ["trace", "script"])
def test_scripted_modules_are_refused_by_name(form: str) -> None:
    linear = nn.Linear(2, 2)
    scripted = torch.jit.trace(linear, torch.zeros(1, 2)) if form == "trace" else torch.jit.script(linear)
    assert "it is a scripted module, which hides its operations" in message(lambda: wrap(scripted, preprocess=CARD))
    inside = nn.Sequential(nn.Flatten(), nn.Sequential(scripted))
    assert "Sequential: its part '1.0' is a scripted module" in message(lambda: wrap(inside, preprocess=CARD))
    compiled = torch.compile(inside, backend="eager")
    assert "Sequential: its part '1.0' is a scripted module" in message(lambda: wrap(compiled, preprocess=CARD))


def test_exported_modules_are_refused_by_name() -> None:
    exported = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    assert message(lambda: wrap(exported, preprocess=CARD)) == (  # type: ignore[arg-type]
        "expected a torch.nn.Module, not a ExportedProgram; give the module that it was exported from"
    )
    text = message(lambda: wrap(nn.Sequential(exported.module()), preprocess=CARD))
    assert "Sequential: its part '0' is an exported graph, which has lost its modules" in text


def test_parts_that_are_spread_over_devices_are_refused_by_name() -> None:
    spread = nn.DataParallel(nn.Linear(2, 2))
    spread.device_ids = [0, 1]
    text = message(lambda: wrap(nn.Sequential(nn.Flatten(), spread), preprocess=CARD))
    assert "Sequential: its part '1' is spread over several devices (DataParallel)" in text


# --- Network ---------------------------------------------------------------------------------------------------------


def test_the_example_is_always_the_same_and_of_the_right_shape(tiny_network: Network) -> None:
    first, second = tiny_network.example(3), tiny_network.example(3)
    assert tuple(first.shape) == (3, 3, 8, 8)
    assert torch.equal(first, second)
    assert len(first.unique()) > 100


def test_the_device_is_that_of_parameters_or_else_buffers(tiny_network: Network) -> None:
    assert tiny_network.device == torch.device("cpu")
    only_buffers = nn.BatchNorm2d(3, affine=False).to("meta")
    assert wrap(only_buffers, preprocess=CARD).device == torch.device("meta")
    assert wrap(nn.Flatten(), preprocess=CARD).device == torch.device("cpu")
    assert tiny_network.to("cpu") is tiny_network


def conv(stride: int = 1, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 2, 3, stride=stride), nn.BatchNorm2d(2))


def fingerprint(module: nn.Module, preprocess: Preprocess = PREPROCESS) -> str:
    return wrap(module, preprocess=preprocess).fingerprint


def test_the_fingerprint_is_that_of_the_weights_modules_and_preprocessing() -> None:
    assert fingerprint(conv()) == fingerprint(conv())
    others = {
        "weights": fingerprint(conv(seed=1)),
        "stride": fingerprint(conv(stride=2)),
        "precision": fingerprint(conv().half()),
        "preprocessing": fingerprint(conv(), replace(PREPROCESS, mean=(0.26,))),
        "module": fingerprint(nn.Sequential(*conv(), nn.ReLU())),
        "names": fingerprint(nn.Sequential(nn.Identity(), *conv())),
    }
    assert len({*others.values(), fingerprint(conv())}) == len(others) + 1


def test_the_fingerprint_follows_training() -> None:
    """It was kept from the first call on, and a scan after more training gave the atlas of before."""
    network = wrap(conv(), preprocess=PREPROCESS)
    before = network.fingerprint
    with torch.no_grad():
        network.module[0].weight[1, 0, 2, 2] += 1e-3
    after = network.fingerprint
    assert after != before
    network.module[1].running_var[0] = 2
    assert network.fingerprint not in (before, after)


def test_the_fingerprint_does_not_follow_what_changes_no_result() -> None:
    module = conv()
    before = fingerprint(module)
    assert fingerprint(copy.deepcopy(module)) == before
    assert fingerprint(module.eval()) == before
    assert fingerprint(module.to(memory_format=torch.channels_last)) == before
    assert fingerprint(nn.DataParallel(module)) == before


class Blur(nn.Module):
    """A buffer that is not saved, a function that PyTorch prints with its address, and a state that is no tensor."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor(value), persistent=False)
        self.function = lambda x: x

    def extra_repr(self) -> str:
        return f"function={self.function}"

    def get_extra_state(self) -> str:
        return "anything"

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) * self.kernel


def test_the_fingerprint_of_modules_with_odd_state() -> None:
    first, second = Blur(1.0), Blur(1.0)
    assert repr(first) != repr(second)
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(first) != fingerprint(Blur(2.0))


def test_logits_are_the_first_tensor_of_two_dimensions() -> None:
    scores, other = torch.zeros(2, 5), torch.zeros(2, 3, 4, 4)
    for result in (scores, (scores, other), [scores], {"out": scores, "more": other}):
        assert logits(result) is scores
    for result, shape in [(other, "(2, 3, 4, 4)"), ((other, scores), "(2, 3, 4, 4)"), ("text", "None"), ((), "None")]:
        assert f"first output has shape {shape}" in message(lambda result=result: logits(result))

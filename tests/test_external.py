"""Networks of torchvision and timm by name: they are the libraries' own, prepared and named as these do it.

Nothing is downloaded: trained weights lie in a cache of the test's own, where the libraries look for them.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from convscope.cli import main
from convscope.errors import NetworkError
from convscope.network import Network, load, logits
from convscope.zoo import external, library

TINY = "test_resnet"  # timm's own for tests
TAG = "r160_in1k"


@pytest.fixture(scope="session")
def timm(torchvision: Any) -> Any:
    """The oracle, which imports torchvision."""
    return pytest.importorskip("timm", reason="missing: the package timm, of the extra zoo")


def message(*arguments: Any, **options: Any) -> str:
    with pytest.raises(NetworkError) as caught:
        load(*arguments, **options)
    return str(caught.value)


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in module.state_dict().items()}


def equal(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- random weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torchvision:squeezenet1_1", f"timm:{TINY}"])
def test_without_weights_it_is_the_librarys_own_from_the_seed_zero(torchvision: Any, name: str, timm: Any) -> None:
    before = torch.get_rng_state()
    network = load(name)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        make = torchvision.models.get_model if name.startswith("torchvision") else timm.create_model
        theirs = make(name.partition(":")[2])
    assert equal(network.module, theirs)
    assert not network.module.training
    assert (network.name, network.classes, network.output) == (name, None, "softmax")
    assert network.remarks[0].startswith("its weights are random")
    with torch.no_grad():
        assert logits(network.module(network.example())).shape == (1, 1000)
    json.dumps(network.spec)
    assert load(**network.spec).fingerprint == network.fingerprint  # type: ignore[arg-type]


def test_classes_and_channels_are_those_of_the_card(tmp_path: Path) -> None:
    card = {"size": [96, 96], "channels": 5, "classes": ["cat", "dog", "owl"]}
    network = load(f"timm:{TINY}", preprocess=card)
    with torch.no_grad():
        assert network.module(network.example()).shape == (1, 3)
    save_file(network.module.state_dict(), tmp_path / "mine.safetensors")
    (tmp_path / "mine.json").write_text(json.dumps(card))
    again = load(tmp_path / "mine.safetensors", arch=f"timm:{TINY}")
    assert equal(again.module, network.module)
    assert (again.name, again.classes) == ("mine", ("cat", "dog", "owl"))
    assert load(**again.spec).fingerprint == again.fingerprint  # type: ignore[arg-type]
    rgb = card | {"channels": "RGB"}
    with torch.no_grad():
        assert load("torchvision:squeezenet1_1", preprocess=rgb).module(torch.zeros(1, 3, 96, 96)).shape == (1, 3)
    assert "it takes 3 channels, and the preprocessing says 5" in message("torchvision:squeezenet1_1", preprocess=card)


def test_a_checkpoint_of_their_architectures(tmp_path: Path, timm: Any) -> None:
    torch.save({"state_dict": nn.DataParallel(timm.create_model(TINY)).state_dict()}, tmp_path / "a.pt")
    assert "there is no a.json beside it" in message(tmp_path / "a.pt", arch=f"timm:{TINY}")
    card = {"size": [160, 160], "classes": [str(i) for i in range(10)]}
    text = message(tmp_path / "a.pt", arch=f"timm:{TINY}", preprocess=card)
    assert "fc.bias is (1000,), expected (10,)" in text
    assert "for 1000 classes, not 10" in text
    text = message(tmp_path / "a.pt", arch=f"timm:{TINY}@{TAG}", preprocess={"size": [160, 160]})
    assert text == f"timm:{TINY}@{TAG}: the weights come from the checkpoint; give arch='timm:{TINY}'"


# --- preprocessing and classes ---------------------------------------------------------------------------------------

PICTURES = [
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (*sides, 3), np.uint8))
    for sides in [(300, 300), (333, 500), (700, 259), (60, 90)]
]


@pytest.mark.parametrize(
    "name",
    ["alexnet", "inception_v3", "efficientnet_b0@IMAGENET1K_V1", "resnet50@IMAGENET1K_V2", "vgg16@IMAGENET1K_FEATURES"],
)
def test_pictures_are_prepared_as_torchvision_does(torchvision: Any, name: str) -> None:
    """With bicubic and bilinear filters, and several sizes."""
    card = external.find(f"torchvision:{name}").card
    model, _, weights = name.partition("@")
    theirs = torchvision.models.get_model_weights(model)[weights or "DEFAULT"].transforms()
    for picture in PICTURES:
        torch.testing.assert_close(card.preprocess(picture), theirs(picture), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["resnet18@a1_in1k", "resnet18@tv_in1k", "convnext_tiny@in12k_ft_in1k", "tf_efficientnet_b0", TINY,
             "repvgg_d2se", "convnext_base@clip_laion2b_augreg_ft_in12k_in1k_384"],
)  # fmt: skip
def test_pictures_are_prepared_as_timm_does(name: str, timm: Any) -> None:
    """Bicubic and bilinear filters, crops of several parts, and pictures that are squashed."""
    card = external.find(f"timm:{name}").card
    cfg = timm.get_pretrained_cfg(name.replace("@", ".")).to_dict()
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=cfg))
    for picture in PICTURES:
        torch.testing.assert_close(card.preprocess(picture), theirs(picture), atol=1e-5, rtol=1e-5)


def test_the_names_above_have_what_they_are_there_for() -> None:
    cards = [external.find(f"timm:{name}").card.preprocess for name in ("resnet18@a1_in1k", TINY)]
    squashed = external.find("timm:convnext_base@clip_laion2b_augreg_ft_in12k_in1k_384").card.preprocess
    assert {card.interpolation for card in cards} == {"bicubic", "bilinear"}
    assert squashed.resize == squashed.size == (384, 384)


def test_a_way_to_crop_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch, timm: Any) -> None:
    resolve = timm.data.resolve_data_config
    monkeypatch.setattr(timm.data, "resolve_data_config", lambda *a, **k: resolve(*a, **k) | {"crop_mode": "border"})
    text = message(f"timm:{TINY}")
    assert f"timm:{TINY}: its images are cropped the way 'border' to 160 × 160 px" in text
    assert "--preprocess FILE" in text
    assert load(f"timm:{TINY}", preprocess={"size": [160, 160]}).preprocess.size == (160, 160)


def test_the_libraries_agree_on_the_classes() -> None:
    """Each has its own table of ImageNet's classes; a shifted one would agree nowhere."""
    first = external.find("torchvision:resnet18@IMAGENET1K_V1").card
    second = external.find("timm:resnet18@a1_in1k").card
    assert first.classes is not None
    assert second.classes is not None
    assert (len(first.classes), len(second.classes)) == (1000, 1000)
    same = [
        name.lower() in other.lower().split(", ") for name, other in zip(first.classes, second.classes, strict=True)
    ]
    assert np.mean(same) > 0.9
    assert second.synonyms is not None
    assert (second.synonyms["n01440764"], second.synonyms["n02011460"]) == (0, 133)  # tench, bittern
    assert first.classes[133] == "bittern"


def test_what_is_no_classifier_has_real_outputs() -> None:
    features = external.find("timm:convnext_tiny@dinov3_lvd1689m").card
    assert (features.output, features.classes) == ("real", None)
    many = external.find("timm:convnext_tiny@in12k").card
    assert many.output == "softmax"
    assert many.classes is not None
    assert len(many.classes) == 11821


# --- trained weights -------------------------------------------------------------------------------------------------


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The caches of torch (hub/checkpoints) and Hugging Face (hf), both empty, on a machine without a network."""
    from huggingface_hub import constants

    def offline(*arguments: Any, **options: Any) -> Any:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setattr("urllib.request.urlopen", offline)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path


TV = "torchvision:squeezenet1_1@IMAGENET1K_V1"
TV_FILE = "hub/checkpoints/squeezenet1_1-b8a52dc0.pth"


def put_on_the_hub(caches: Path, name: str, module: nn.Module) -> None:
    folder = caches / "hf" / f"models--timm--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(module.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")


def test_weights_of_torchvision_come_from_its_cache(caches: Path, torchvision: Any) -> None:
    theirs = torchvision.models.squeezenet1_1()
    torch.save(theirs.state_dict(), caches / TV_FILE)
    for name in (TV, "torchvision:squeezenet1_1@DEFAULT"):
        network = load(name)
        assert equal(network.module, theirs)
        assert not network.module.training
        assert network.name == TV
        assert network.classes is not None
        assert network.classes[:2] == ("tench", "goldfish")
        assert network.remarks == ()
        assert load(**network.spec).fingerprint == network.fingerprint  # type: ignore[arg-type]


def test_weights_of_timm_come_from_the_hubs_cache(caches: Path, timm: Any) -> None:
    theirs = timm.create_model(TINY)
    put_on_the_hub(caches, f"{TINY}.{TAG}", theirs)
    for name in (f"timm:{TINY}@{TAG}", f"timm:{TINY}@DEFAULT"):
        network = load(name)
        assert equal(network.module, theirs)
        assert network.name == f"timm:{TINY}@{TAG}"
        assert network.classes is not None
        assert network.classes[0] == "tench, Tinca tinca"
        assert network.synonyms is not None
        assert network.remarks == ()


def test_googlenet_keeps_what_belongs_to_its_weights(caches: Path, torchvision: Any) -> None:
    """Its trained weights are for another normalisation, which it does itself, and its auxiliary heads go."""
    theirs = torchvision.models.googlenet(weights=None, init_weights=False)
    torch.save(theirs.state_dict(), caches / "hub/checkpoints/googlenet-1378be20.pth")
    module = load("torchvision:googlenet@IMAGENET1K_V1").module
    assert module.transform_input
    assert module.aux1 is None
    assert not load("torchvision:googlenet").module.transform_input


def test_what_a_checkpoint_of_googlenet_may_lack_is_said(tmp_path: Path, torchvision: Any) -> None:
    torch.save(torchvision.models.googlenet(weights=None, init_weights=False).state_dict(), tmp_path / "a.pt")
    network = load(tmp_path / "a.pt", arch="torchvision:googlenet", preprocess={"size": [224, 224]})
    assert network.remarks == (
        "torchvision:googlenet is built with transform_input=False; weights tuned from torchvision's own need True",
    )


@pytest.mark.parametrize("name", [TV, f"timm:{TINY}@{TAG}"])
def test_weights_that_cannot_be_downloaded(caches: Path, name: str) -> None:
    text = message(name)
    assert text.startswith(f"{name}: its weights cannot be loaded (URLError: <urlopen error no network>)")
    if name == TV:
        assert "download https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth" in text
        assert str(caches / TV_FILE) in text
    else:
        assert f"https://huggingface.co/timm/{TINY}.{TAG}/resolve/main/model.safetensors" in text
        assert str(caches / "hf" / f"models--timm--{TINY}.{TAG}") in text
        assert f"--arch timm:{TINY}" in text


class Bomb:
    """Pickled, it makes a folder wherever it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def test_a_file_in_the_cache_that_holds_code_is_refused(caches: Path) -> None:
    mark = caches / "executed"
    torch.save({"weights": Bomb(mark)}, caches / TV_FILE)
    assert "its weights cannot be loaded (UnpicklingError" in message(TV)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.is_dir(), "the bomb of this test does not work"


def test_a_damaged_file_and_one_of_another_network_are_refused(caches: Path) -> None:
    (caches / TV_FILE).write_bytes(b"half of a")
    assert str(caches / TV_FILE) in message(TV)
    put_on_the_hub(caches, f"{TINY}.{TAG}", nn.Conv2d(3, 4, 3))
    text = message(f"timm:{TINY}@{TAG}")
    assert "its weights cannot be loaded (RuntimeError: Error(s) in loading state_dict" in text


def test_trained_weights_with_other_preprocessing_keep_their_classes(caches: Path, timm: Any) -> None:
    put_on_the_hub(caches, f"{TINY}.{TAG}", timm.create_model(TINY))
    name = f"timm:{TINY}@{TAG}"
    network = load(name, preprocess={"size": [96, 96]})
    assert network.preprocess.size == (96, 96)
    assert network.classes == load(name).classes
    assert "its weights are for 3 channels, and the preprocessing says 1" in message(
        name, preprocess={"size": [96, 96], "channels": "L"}
    )
    assert "its weights have 1000 classes, and 2 are named" in message(
        name, preprocess={"size": [96, 96], "classes": ["cat", "dog"]}
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_layers_says_that_weights_are_random(options: list[str]) -> None:
    done = CliRunner().invoke(main, ["layers", f"timm:{TINY}", *options])
    assert done.exit_code == 0
    assert done.stderr.startswith(f"note: timm:{TINY}: its weights are random; ")
    if options:
        about = json.loads(done.stdout)
        assert about["remarks"] == list(load(f"timm:{TINY}").remarks)
        assert about["input"] == [3, 160, 160]
        assert about["layers"][-1]["shape"] == [1000]


# --- names that are not there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:resnt18", "torchvision has no network 'resnt18' that classifies images; did you mean 'resnet18'"),
        ("timm:resnt18", "timm has no network 'resnt18' that classifies images; did you mean 'resnet18'"),
        ("torchvision:fasterrcnn_resnet50_fpn", "no network 'fasterrcnn_resnet50_fpn' that classifies images"),
        ("torchvision:", "torchvision.models.list_models() has the names"),
        ("timm:", "timm.list_models() has the names"),
        ("timm:resnet18.a1_in1k", "write trained weights behind an '@', as timm:resnet18@a1_in1k; timm:resnet18 has"),
        ("torchvision:resnet50@V2", "has no weights 'V2'; known are IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"),
        ("torchvision:resnet50@IMAGENET1K_V3", "'IMAGENET1K_V3'; did you mean 'IMAGENET1K_V"),
        ("timm:resnet18@a1_in22k", "timm:resnet18 has no weights 'a1_in22k'; did you mean 'a1_in1k'"),
        ("timm:resnet18@", "timm:resnet18 has no weights ''; known are a1_in1k, "),
        ("timm:lcnet_035@DEFAULT", "timm:lcnet_035 has no weights 'DEFAULT'"),
        ("convnext_tiny", "torchvision:NAME, timm:NAME or package.module:factory"),
    ],
)
def test_a_name_that_is_not_there(name: str, said: str) -> None:
    assert said in message(name)


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert message(f"{name}:resnet18") == f'{name} is not installed; pip install "convscope[zoo]"'


def test_a_network_that_its_library_cannot_build(monkeypatch: pytest.MonkeyPatch, timm: Any) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("two\nlines")

    monkeypatch.setattr(timm, "create_model", broken)
    assert message(f"timm:{TINY}") == f"timm:{TINY}: timm cannot build it (AssertionError: two lines)"


# --- the adapter -----------------------------------------------------------------------------------------------------


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


def test_in_a_fresh_interpreter_nothing_is_said() -> None:
    """Googlenet warns of its initialisation, and timm of much."""
    done = python(
        f"import convscope; convscope.load('timm:{TINY}'); print(convscope.load('torchvision:googlenet').name)"
    )
    assert (done.stdout, done.stderr) == ("torchvision:googlenet\n", "")


def test_loggers_are_as_before(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("timm")
    before = logger.level
    load(f"timm:{TINY}")
    assert logger.level == before
    assert not caplog.records


def test_schemas_are_declared_only_where_the_compiled_part_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not library._compiled_part_loads(tmp_path)
    (tmp_path / "_C.so").write_bytes(b"no library")
    assert not library._compiled_part_loads(tmp_path)
    loaded: list[str] = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    assert library._compiled_part_loads(tmp_path)
    assert loaded == [str(tmp_path / "_C.so")]


def test_a_torchvision_that_does_not_fit_is_said() -> None:
    code = (
        "import sys, types, convscope\n"
        "from convscope.zoo import library\n"
        "library.import_library = lambda name, real=library.import_library: real(name)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torchvision.models': raise RuntimeError('operator torchvision::x does not exist')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "try: convscope.load('torchvision:resnet18')\n"
        "except convscope.ConvscopeError as error: print(error)\n"
    )
    done = python(code)
    assert done.stdout.startswith(
        "torchvision cannot be imported (RuntimeError: operator torchvision::x does not exist)"
    )
    assert f"install one that fits torch {torch.__version__}" in done.stdout


def test_the_name_of_a_network_is_exact(caches: Path, timm: Any) -> None:
    """`DEFAULT` is another thing after an update; the name in an atlas is not."""
    put_on_the_hub(caches, f"{TINY}.{TAG}", timm.create_model(TINY))
    network: Network = load(f"timm:{TINY}@DEFAULT")
    assert network.name.endswith(f"@{TAG}")

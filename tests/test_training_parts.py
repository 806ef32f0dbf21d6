"""What a recipe can ask for, each against a slow definition: schedules, augmentation, optimizers, the clamp."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convscope.errors import TrainingError
from convscope.preprocess import Preprocess
from convscope.training import augmentation as augment
from convscope.training.augmentation import Augmentation
from convscope.training.optimizers import AdamW, Sgd, clamp_filters, groups, kept, restore
from convscope.training.schedules import Constant, Cosine, OneCycle, Schedule, Steps

pytestmark = pytest.mark.usefixtures("one_thread")
PICTURES = Preprocess(size=(6, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 3, planes: int = 3) -> Tensor:
    return torch.rand(count, planes, 6, 8, generator=generator(7))


def factors(schedule: Schedule, steps: int = 40, per_epoch: int = 4) -> list[float]:
    return [schedule.factor(step, steps, per_epoch) for step in range(steps)]


# --- schedules -------------------------------------------------------------------------------------------------------


def test_constant_and_its_warm_up() -> None:
    assert factors(Constant()) == [1.0] * 40
    assert factors(Constant(warmup=1.25)) == [0.2, 0.4, 0.6, 0.8] + [1.0] * 36


def test_steps_drop_after_their_epochs() -> None:
    found = factors(Steps(after=(2, 5), drop=0.1, warmup=0.5))
    assert found == pytest.approx([0.5] + [1.0] * 7 + [0.1] * 12 + [0.01] * 20)


def test_cosine_is_pytorchs_and_ends_low() -> None:
    module = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(module.parameters(), 1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40, eta_min=0.1)
    for ours in factors(Cosine(final=0.1)):
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    warm = factors(Cosine(warmup=2))
    assert warm[:8] == pytest.approx([step / 8 for step in range(1, 9)])
    assert warm[8:] == pytest.approx([(1 + math.cos(math.pi * step / 32)) / 2 for step in range(32)])


@pytest.mark.parametrize(("steps", "rise"), [(40, 0.3), (23, 0.5), (7, 0.29), (1380, 0.3)])
def test_one_cycle_is_pytorchs(steps: int, rise: float) -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, pct_start=rise, cycle_momentum=False
    )
    for ours in factors(OneCycle(rise=rise), steps):
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
        if theirs.last_epoch == steps - 1:
            assert OneCycle(rise=rise).factor(steps - 1, steps, 4) == pytest.approx(optimizer.param_groups[0]["lr"])
            return


@pytest.mark.parametrize("schedule", [Constant(warmup=3), Steps(after=(1,)), Cosine(warmup=3), OneCycle()], ids=repr)
def test_a_training_of_one_step_has_a_rate(schedule: Schedule) -> None:
    assert 0 <= schedule.factor(0, 1, 1) <= 1


# --- augmentation ----------------------------------------------------------------------------------------------------

STRENGTHS: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "flip": lambda images, strength, chance: augment.flip(images, chance, strength),
    "shift": lambda images, strength, chance: augment.shift(images, round(2 * strength), chance),
    "turn": lambda images, strength, chance: augment.turn_and_scale(images, 20 * strength, 0.0, chance),
    "scale": lambda images, strength, chance: augment.turn_and_scale(images, 0.0, strength / 2, chance),
    "brightness": augment.brightness,
    "contrast": augment.contrast,
    "colour": augment.colour,
}


@pytest.mark.parametrize("name", STRENGTHS)
def test_no_strength_changes_nothing_and_draws_nothing(name: str) -> None:
    images, chance = batch(), generator()
    before = chance.get_state()
    assert STRENGTHS[name](images, 0.0, chance) is images
    assert torch.equal(chance.get_state(), before)


@pytest.mark.parametrize("name", STRENGTHS)
def test_the_same_seed_does_the_same_and_the_batch_stays_as_it_was(name: str) -> None:
    images = batch(20)
    before = images.clone()
    one, again, other = (STRENGTHS[name](images, 0.9, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, images)
    assert torch.equal(images, before)
    assert (one.shape, one.dtype) == (images.shape, images.dtype)


def test_flip_mirrors_the_chosen_images() -> None:
    images = batch(200)
    flipped = augment.flip(images, generator(), 0.25)
    mirrored = [torch.equal(new, old.flip(2)) for new, old in zip(flipped, images, strict=True)]
    same = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 30 <= sum(mirrored) <= 70
    assert torch.equal(augment.flip(images, generator(), 1.0), images.flip(3))


def test_shifts_are_exact() -> None:
    """Pixel by pixel: what comes in from outside is the nearest pixel of the border."""
    images, moves = batch(4), torch.tensor([[0, 0], [2, -1], [-1, 3], [9, 9]])
    shifted = augment.shift_by(images, moves)
    for i, (down, right) in enumerate(moves.tolist()):
        for y in range(6):
            for x in range(8):
                source = images[i, :, min(max(y - down, 0), 5), min(max(x - right, 0), 7)]
                assert torch.equal(shifted[i, :, y, x], source)


def test_shifts_go_everywhere_within_their_pixels() -> None:
    marked = torch.zeros(500, 1, 7, 7)
    marked[:, :, 3, 3] = 1
    found = augment.shift(marked, 2, generator()).flatten(1).argmax(1)
    places = {(int(place) // 7 - 3, int(place) % 7 - 3) for place in found}
    assert places == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_quarter_turns_and_half_turns_are_exact() -> None:
    square = torch.rand(2, 3, 8, 8, generator=generator())
    for degrees, quarters in [(90.0, 1), (180.0, 2), (-90.0, -1), (0.0, 0)]:
        turned = augment.turn_and_scale_by(square, torch.full((2,), degrees), torch.ones(2))
        torch.testing.assert_close(turned, square.rot90(quarters, (2, 3)), atol=1e-5, rtol=0)
    oblong = batch()  # a turn by a right angle leaves what is round round, also where the image is no square
    turned = augment.turn_and_scale_by(oblong, torch.full((3,), 180.0), torch.ones(3))
    torch.testing.assert_close(turned, oblong.flip(2, 3), atol=1e-5, rtol=0)


def test_an_oblong_image_turns_without_shear() -> None:
    """A spot three pixels right of the centre is three pixels above it after a quarter turn."""
    image = torch.zeros(1, 1, 9, 15)
    image[0, 0, 4, 10] = 1
    turned = augment.turn_and_scale_by(image, torch.tensor([90.0]), torch.ones(1))
    assert divmod(int(turned.argmax()), 15) == (1, 7)
    assert float(turned.max()) == pytest.approx(1, abs=1e-5)


def test_scale_two_doubles_the_distances_from_the_centre() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 3, 6] = 1
    larger = augment.turn_and_scale_by(image, torch.zeros(1), torch.tensor([2.0]))
    assert divmod(int(larger.argmax()), 9) == (2, 8)


def test_light_and_colour_are_factors() -> None:
    images = batch(50)
    ratio = augment.brightness(images, 0.3, generator()) / images
    assert torch.allclose(ratio, ratio[:, :1, :1, :1].expand_as(ratio), atol=1e-5)
    assert ratio.min() >= 0.7 - 1e-5
    assert ratio.max() <= 1.3 + 1e-5
    assert ratio.max() - ratio.min() > 0.4
    ratio = augment.colour(images, 0.3, generator()) / images
    assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio), atol=1e-5)
    assert not torch.allclose(ratio[:, 0], ratio[:, 1], atol=1e-2)
    changed = augment.contrast(images, 0.3, generator())
    torch.testing.assert_close(changed.mean((1, 2, 3)), images.mean((1, 2, 3)))
    ratio = changed.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.7 - 1e-5 <= ratio.min() < 0.8
    assert 1.2 < ratio.max() <= 1.3 + 1e-5


def test_light_is_that_of_the_picture_and_not_of_the_networks_numbers() -> None:
    """Black stays black, and nothing becomes whiter than white."""
    black, white = (torch.stack([PICTURES(_grey(value)) for _ in range(9)]) for value in (0.0, 1.0))
    light = Augmentation(brightness=0.5)
    torch.testing.assert_close(light(black, PICTURES, generator()), black)
    lit = light(white, PICTURES, generator())
    assert (lit <= white + 1e-5).all()
    assert (lit < white - 0.1).any()


def _grey(value: float) -> Any:
    import numpy as np

    return np.full((3, 6, 8), value, np.float32)


def test_an_empty_augmentation_gives_the_batch_itself() -> None:
    images = batch()
    assert Augmentation()(images, PICTURES, generator()) is images


def test_what_makes_no_sense_for_the_inputs_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"x: 'colour' is 0.2, and the inputs are grey; use brightness"):
        Augmentation(colour=0.2).check(Preprocess(size=(8, 8), channels="L"), "x")
    with pytest.raises(TrainingError, match="for pictures, and the inputs are 17 channels of other numbers"):
        Augmentation(contrast=0.2).check(Preprocess(size=(8, 8), channels=17), "x")
    Augmentation(shift=2, flip=True).check(Preprocess(size=(8, 8), channels=17), "x")


# --- optimizers ------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 3, 2), nn.LayerNorm([3, 2, 2]), nn.Linear(12, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(images)).flatten(1))


def net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().double()


def test_kernels_and_matrices_decay_and_nothing_else() -> None:
    """The scale of the layer norm has three axes, like a kernel, and is none."""
    module = net()
    decaying, others = groups(module, 0.1)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    names = {id(tensor): name for name, tensor in module.named_parameters()}
    assert [names[id(each)] for each in decaying["params"]] == ["conv.weight", "head.weight"]
    assert [names[id(each)] for each in others["params"]] == ["conv.bias", "norm.weight", "norm.bias", "head.bias"]


def decays(name: str) -> bool:
    return name in ("conv.weight", "head.weight")


def slow_sgd(values: dict[str, Tensor], gradients: list[dict[str, Tensor]], rate: float, nesterov: bool) -> None:
    velocity = {name: torch.zeros_like(value) for name, value in values.items()}
    for gradient in gradients:
        for name, value in values.items():
            slope = gradient[name] + (0.01 * value if decays(name) else 0)
            velocity[name] = 0.8 * velocity[name] + slope
            value -= rate * (slope + 0.8 * velocity[name] if nesterov else velocity[name])


def slow_adamw(values: dict[str, Tensor], gradients: list[dict[str, Tensor]], rate: float) -> None:
    first, second = ({name: torch.zeros_like(value) for name, value in values.items()} for _ in range(2))
    for step, gradient in enumerate(gradients, 1):
        for name, value in values.items():
            value *= 1 - rate * (0.01 if decays(name) else 0)
            first[name] = 0.7 * first[name] + 0.3 * gradient[name]
            second[name] = 0.9 * second[name] + 0.1 * gradient[name] ** 2
            size = (second[name] / (1 - 0.9**step)).sqrt() + 1e-8
            value -= rate * (first[name] / (1 - 0.7**step)) / size


@pytest.mark.parametrize("kind", ["momentum", "nesterov", "adamw"])
def test_an_optimizer_follows_its_formula(kind: str) -> None:
    module, rate = net(), 0.05
    descent = AdamW(rate=rate, decay=0.01, betas=(0.7, 0.9)) if kind == "adamw" else Sgd(
        rate=rate, decay=0.01, momentum=0.8, nesterov=kind == "nesterov")  # fmt: skip
    values = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    optimizer, gradients = descent.start(module), []
    for step in range(5):
        images = torch.randn(4, 2, 3, 3, generator=generator(step), dtype=torch.float64)
        optimizer.zero_grad()
        torch.autograd.backward(module(images).square().sum())
        gradients.append({name: tensor.grad.clone() for name, tensor in module.named_parameters()})  # type: ignore[union-attr]
        optimizer.step()
    if kind == "adamw":
        slow_adamw(values, gradients, rate)
    else:
        slow_sgd(values, gradients, rate, kind == "nesterov")
    for name, tensor in module.named_parameters():
        torch.testing.assert_close(tensor.detach(), values[name], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("descent", [Sgd(rate=0.1), AdamW(rate=0.1)], ids=["sgd", "adamw"])
def test_what_an_optimizer_remembers_goes_through_plain_tensors(descent: Sgd | AdamW) -> None:
    one, other = net(), net()
    optimizers = [descent.start(one), descent.start(other)]

    def step(module: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        images = torch.randn(4, 2, 3, 3, generator=generator(seed), dtype=torch.float64)
        torch.autograd.backward(module(images).square().sum())
        optimizer.step()

    assert kept(optimizers[0]) == {}
    for seed in range(3):
        step(one, optimizers[0], seed)
    other.load_state_dict(one.state_dict())
    restore(optimizers[1], kept(optimizers[0]))
    for seed in range(3, 6):
        step(one, optimizers[0], seed)
        step(other, optimizers[1], seed)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_filters_beyond_the_radius_come_back_to_it_and_the_others_stay() -> None:
    """METHODS 2.3, test 2."""
    module = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2), nn.Linear(3, 3))
    with torch.no_grad():
        module[0].weight *= torch.tensor([0.0, 1.0, 2.0, 5.0, 50.0, 0.1])[:, None, None, None]
        module[3].weight *= 100
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    clamp_filters(module, 0.1)
    for name, after in module.state_dict().items():
        for old, new in zip(before[name], after, strict=True):
            size = float(old.square().mean().sqrt())
            if name in ("0.weight", "2.weight") and size > 0.1:
                torch.testing.assert_close(new, old * (0.1 / size))
                assert float(new.square().mean().sqrt()) <= 0.1 * (1 + 1e-6)
            else:
                assert torch.equal(new, old), name
    sizes = before["0.weight"].square().flatten(1).mean(1).sqrt()
    assert 0 < int((sizes > 0.1).sum()) < 6  # so that both cases are there


def test_a_network_without_anything_to_learn_is_refused() -> None:
    with pytest.raises(TrainingError, match="Net: it has no weights to learn"):
        Sgd(rate=0.1).start(net().requires_grad_(False))

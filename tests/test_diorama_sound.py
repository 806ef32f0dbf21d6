"""Sounds of the diorama: the instruments do what they say, kinds can be told apart, and a scene is the sum of them."""

import dataclasses
import hashlib
import subprocess
import sys
import wave

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from convscope import diorama
from convscope.cli import main
from convscope.diorama import render
from convscope.diorama.dice import Dice
from convscope.diorama.instruments import DROP, Bursts, Calls, Hum, Strikes, Strings, Wind
from convscope.diorama.sound import BACKGROUND, FAINT, RATE, SOUNDS, STEPS, ambient, sound
from convscope.errors import ImagesError

KINDS = [kind.name for kind in (*diorama.TRAINED, *diorama.NOVEL)]
CLUTTER = {kind.name for kind in diorama.CLUTTER}
ROOMS = {"bedroom", "kitchen", "living room"}
HALF = 0.5 / STEPS + 1e-7  # of a step: how far rounding goes


def power(samples):
    """By whole Hz: a sound lasts a second."""
    return np.abs(np.fft.rfft(samples)) ** 2


# Instruments.


@pytest.mark.parametrize("fall", [0.0, 1.0])
def test_a_hum_is_multiples_of_its_pitch(fall):
    found = power(Hum((200, 200), partials=5, fall=fall, swing=0).play(Dice("a")))
    loud = np.flatnonzero(found > found.max() * 1e-3)
    np.testing.assert_array_equal(loud, [200, 400, 600, 800, 1000])
    np.testing.assert_allclose(found[loud] / found[200], np.arange(1, 6) ** (-2 * fall), rtol=1e-6)


def test_a_hum_rises_and_swells():
    rising = Hum((500, 500), partials=1, rise=(1, 1), swing=0).play(Dice("a"))
    for start, pitch in ((0, 500), (RATE - 800, 1000)):
        part = rising[start : start + 800] * np.hanning(800)
        assert np.argmax(power(part)) * RATE / 800 == pytest.approx(pitch, abs=40)
    swelling = Hum((1000, 1000), partials=1, swing=0, swell=1, rate=(4, 4)).play(Dice("a"))
    loudness = np.square(swelling).reshape(-1, 80).mean(1)
    assert np.argmax(power(loudness - loudness.mean())) == 4


def test_wind_is_noise_of_its_band():
    found = power(Wind((800, 800), (1600, 1600), swell=0).play(Dice("a")))
    assert found[560:2270].sum() > 0.95 * found.sum()  # half an octave more on both sides
    assert np.median(found[800:1600]) > 1e4 * np.median(found[4800:])
    assert np.median(found[800:1600]) > 1e4 * np.median(found[:200])


@pytest.mark.parametrize("instrument", [Calls((1000, 1000), (0.05, 0.05), (4, 4), uneven=0),
                                        Strikes((1000, 1000), DROP, (0.02, 0.02), (4, 4), 0),
                                        Bursts((1000, 1000), (2000, 2000), (0.02, 0.02), (4, 4), 0)])  # fmt: skip
def test_events_come_so_many_times_a_second(instrument):
    """In a second there are four, a quarter of a second apart, and between them it is quiet."""
    for index in range(5):
        played = instrument.play(Dice("a", index))
        loud = np.abs(played).reshape(-1, 160).max(1) > 0.05 * np.abs(played).max()
        starts = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]]))
        assert len(starts) in {4, 5}  # the fifth may begin just before the end
        assert set(np.diff(starts)) <= {24, 25, 26}
        assert loud.mean() < 0.6


def test_calls_take_their_course():
    played = Calls((500, 500), (0.9, 0.9), (1, 1), sweep=(1, 1), partials=1).play(Dice("a", 1))
    start = np.flatnonzero(np.abs(played) > 1e-3)[0]
    first, last = (played[start + a : start + a + 1600] * np.hanning(1600) for a in (0, RATE // 3))
    low, high = (np.argmax(power(each)) * RATE / 1600 for each in (first, last))
    assert 470 < low < 600
    assert high / low == pytest.approx(2 ** (1 / 3 / 0.9), rel=0.05)


def test_what_is_too_high_for_the_samples_is_left_out():
    """At 16 kHz 10 kHz would be heard as 6 kHz."""
    for played in (
        Strikes((5000, 5000), ((1, 1), (2, 1)), (0.1, 0.1), (1, 1)).play(Dice("a")),
        Hum((5000, 5000), partials=2, fall=0, swing=0).play(Dice("a")),
    ):
        found = power(played)
        assert found[5900:6100].sum() < 1e-3 * found[4900:5100].sum()


def test_a_string_repeats_itself_and_dies_away():
    played = Strings((160, 160), (0,), (1, 1)).play(Dice("a", 3))
    start = np.flatnonzero(played)[0]
    string = played[start:]
    similar = [np.corrcoef(string[:-lag], string[lag:])[0, 1] for lag in range(40, 190)]
    assert 40 + int(np.argmax(similar)) == 100
    assert max(similar) > 0.9
    assert np.abs(string[-800:]).max() < 0.5 * np.abs(string[:800]).max()


# Kinds.


def fingerprint():
    digest = hashlib.sha256()
    for kind in KINDS:
        digest.update(sound(kind, 3, 1).tobytes())
    digest.update(ambient(render("objects", "test", 0)).tobytes())
    return digest.hexdigest()


def test_another_process_makes_the_same_bytes():
    code = "import sys; sys.path.insert(0, 'tests'); import test_diorama_sound as t; print(t.fingerprint())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == fingerprint()


def test_every_kind_has_a_sound_within_bounds():
    assert list(SOUNDS) == KINDS
    for kind in KINDS:
        for index in range(4):
            played = sound(kind, 0, index)
            assert (played.shape, played.dtype) == ((RATE,), np.float32)
            assert np.isfinite(played).all()
            assert 0.3 - HALF <= np.abs(played).max() <= 0.9 + HALF
            assert np.abs(played.mean()) < 0.01


def test_no_two_sounds_are_the_same():
    made = [sound(kind, seed, index) for kind in KINDS for seed in range(2) for index in range(2)]
    assert len({each.tobytes() for each in made}) == len(made)


def test_what_makes_no_sound_is_named():
    with pytest.raises(ImagesError, match="'ball' makes no sound"):
        sound("ball")
    with pytest.raises(ImagesError, match="did you mean 'dog'"):
        sound("dogs")


def statistics(played):
    """Of 22 bands, from 50 Hz to 8 kHz: the mean of the log energy over time, and its deviation."""
    energy = np.abs(np.fft.rfft(played.reshape(50, -1) * np.hanning(RATE // 50))) ** 2
    edges = np.unique(np.geomspace(1, 160, 28).astype(int))
    bands = np.log(np.add.reduceat(energy[:, :160], edges[:-1], 1) + 1e-6)
    return np.concatenate([bands.mean(0), bands.std(0)])


def test_simple_statistics_tell_the_kinds_apart():
    draws = np.array([[statistics(sound(kind, 5, index)) for index in range(20)] for kind in KINDS])
    train, test = (part.reshape(-1, part.shape[-1]) for part in (draws[:, :14], draws[:, 14:]))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train, np.repeat(KINDS, 14))
    assert model.score(test, np.repeat(KINDS, 6)) > 0.9


# Scenes.


@pytest.fixture(scope="module")
def scenes():
    return [render(label_set, "test", index) for label_set in diorama.LABEL_SETS for index in range(60)]


def test_a_scene_is_the_sum_of_its_things_by_area_and_of_a_faint_place(scenes):
    assert ROOMS | set(BACKGROUND) == {place.name for place in diorama.PLACES}
    for scene in scenes:
        key = f"{scene.label_set}/{scene.split}/0/{scene.index}"
        things = [
            np.sqrt(np.mean(scene.instances == thing.number)) * sound(thing.kind, key, thing.number)
            for thing in scene.things
            if thing.kind not in CLUTTER
        ]
        rest = np.abs(ambient(scene) - sum(things, np.zeros(RATE))).max()
        assert rest == pytest.approx(0 if scene.category in ROOMS else FAINT, abs=HALF)


def test_what_is_removed_is_heard_no_more(scenes):
    """What is missing then has the peak of a sound, times the root of the area; the others are as before."""
    tried = 0
    for scene in scenes[::4]:
        for thing in scene.things:
            rest = render(scene.label_set, scene.split, scene.index, without=[thing.number])
            mine = [other for other in scene.things if other.number != thing.number]
            if [other.area for other in mine] != [other.area for other in rest.things]:
                continue  # it hid something
            missing = np.abs(ambient(scene) - ambient(rest)).max()
            if thing.kind in CLUTTER:
                assert missing == 0
            else:
                assert 0.3 * thing.area**0.5 - 2 * HALF <= missing <= 0.9 * thing.area**0.5 + 2 * HALF
                tried += 1
    assert tried > 15


def test_a_room_with_nothing_in_it_is_silent(scenes):
    rooms = [scene for scene in scenes if scene.category in ROOMS]
    assert rooms
    for scene in rooms:
        sounding = [thing.number for thing in scene.things if thing.kind not in CLUTTER]
        assert ambient(scene).any() == bool(sounding)
        assert not ambient(render(scene.label_set, scene.split, scene.index, without=sounding)).any()


def test_another_world_sounds_differently(scenes):
    other = dataclasses.replace(scenes[0], seed=1)
    assert render("objects", "test", 0, seed=1).seed == 1
    assert (ambient(other) != ambient(scenes[0])).any()
    np.testing.assert_array_equal(ambient(render("objects", "test", 0)), ambient(scenes[0]))


def test_a_loud_scene_is_turned_down(scenes, monkeypatch):
    loud = max(scenes, key=lambda scene: np.abs(ambient(scene)).max())
    usual = ambient(loud)
    things = tuple(dataclasses.replace(thing, area=100 * thing.area) for thing in loud.things)
    monkeypatch.setitem(loud.__dict__, "things", things)
    assert np.abs(ambient(loud)).max() == pytest.approx(1, abs=HALF)
    assert np.corrcoef(usual, ambient(loud))[0, 1] > 0.9


# The command.


def test_files_hold_the_sounds_themselves(tmp_path):
    run = CliRunner().invoke(main, ["diorama", "sounds", "-o", str(tmp_path / "a")])
    assert run.exit_code == 0, run.output
    assert run.stdout == f"{tmp_path / 'a'}: 36 sounds\n"
    assert {path.name for path in (tmp_path / "a").iterdir()} == {f"{kind}.wav" for kind in KINDS}
    for kind in KINDS:
        with wave.open(str(tmp_path / "a" / f"{kind}.wav")) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
            steps = np.frombuffer(file.readframes(RATE), "<i2")
        np.testing.assert_array_equal(np.float32(steps / STEPS), sound(kind))
    again = CliRunner().invoke(main, ["diorama", "sounds", "-o", str(tmp_path / "a")])
    assert again.exit_code == 1
    assert "not empty" in again.stderr

"""The measurements of a picture see what they are there to see, and the colours of the methods stay apart."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

import linear_theory as lt
from benchmarks import picture as benchmarks_picture
from benchmarks.report import RESULTS
from figures import hero as hero_figure
from figures.style import COLOURS, figure, ink, label_line, luminance
from paper_reproduction import hero, registry, shipped
from tests.pictures import faults
from tests.test_diagnosis_report import ROWS

ENTRIES = [entry for chapter in registry.chapters() for entry in chapter.discover()]
STORED = [entry for entry in ENTRIES if entry.results and shipped.shown(entry)]


def good():
    fig, ax = figure(width=8, height=4.5)
    ax.plot([0, 1, 2], [0, 1, 4], color=COLOURS["flow"])
    ax.plot([0, 1, 2], [4, 2, 0], color=COLOURS["standard"])
    label_line(ax, 1, 1, "FLOW", COLOURS["flow"], dx=12, dy=-14)
    ax.set(xlabel="step", ylabel="error")
    return fig, ax


def _cross(ax, **line):
    """A label, and a line through it of the given looks."""
    ax.axhline(1.8, **({"color": COLOURS["uniform"]} | line))
    label_line(ax, 0.3, 1.8, "FLOW", COLOURS["flow"], dx=0.1, ha="center")


@pytest.mark.parametrize("spoil", [lambda ax: None, lambda ax: _cross(ax, color="#BFC1CA", lw=1.1)])
def test_a_good_picture_has_no_fault(spoil):
    fig, ax = good()
    spoil(ax)  # a grid's pale line is none
    assert faults(fig) == []


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda ax: ax.set_xlabel("step", fontsize=5), "letters of"),
        (lambda ax: ax.text(0.3, 0.2, "pale", color="#aaaaaa"), "stands out"),
        (lambda ax: ax.text(1.9, 3, "far beyond the edge of it", in_layout=False), "leaves the picture"),
        (lambda ax: [ax.text(0.3, y, "one upon another") for y in (0.2, 0.25)], "lies on"),
        (
            lambda ax: label_line(ax, 1.5, 1.0, "FLOW", COLOURS["flow"], dx=-0.1, ha="center"),
            "line of colour",
        ),
        (lambda ax: _cross(ax, ls=":"), "line of colour"),
        (lambda ax: _cross(ax, lw=0.8), "line of colour"),
        (lambda ax: _cross(ax, color=ink(COLOURS["flow"])), "line of colour"),
        (
            lambda ax: ax.vlines([0.3], 0, 4, COLOURS["uniform"]) and _cross(ax, visible=False),
            "line of colour",
        ),
        (lambda ax: ax.set_xlabel("$x_{a_b}$", fontsize=9), "an index of"),
        (lambda ax: ax.set_xlabel("one line\n$x^{2^n}$", fontsize=9), "an index of"),
        (lambda ax: ax.set(xlim=(0, 9)), "empty"),
    ],
)
def test_a_fault_is_seen(spoil, says):
    fig, ax = good()
    spoil(ax)
    assert any(says in fault for fault in faults(fig))


@pytest.mark.parametrize("entry", STORED, ids=lambda entry: entry.name)
def test_stored_results_are_drawn_for_the_last_row(entry):
    assert faults(entry.draw(shipped.stored(entry))) == []


def test_the_opening_picture_is_for_the_last_row():
    assert faults(hero_figure.draw(hero.compute())) == []


def test_the_moving_picture_keeps_the_colours_of_the_house(tmp_path):
    hero_figure.animate(hero.compute(), tmp_path / "stall.gif")
    names = ("standard", "flow", "averaging", "target", "joint_optimum")
    colours = {tuple(round(255 * c) for c in to_rgb(COLOURS[name])): name for name in names}
    for path in (tmp_path / "stall.gif", Path(hero_figure.__file__).with_name("gallery") / "stall.gif"):
        assert path.stat().st_size < 1_000_000
        with Image.open(path) as moving:
            assert moving.n_frames > 30
            for frame in (1, 5, 20):
                moving.seek(frame)
                many = moving.convert("RGB").getcolors(1 << 24)
                seen = {colours[colour]: count for count, colour in many if colour in colours}
                assert set(seen) == set(names), frame
                assert min(seen.values()) > 50, frame  # more than the rim of a letter


def test_the_picture_of_the_benchmarks_is_for_the_last_row():
    assert (
        faults(benchmarks_picture.draw(json.loads((RESULTS / "table.json").read_text(encoding="utf-8"))))
        == []
    )


THINGS = {"standard", "flow", "averaging", "averages", "kl-dro", "line", "lines", "curve", "curves", "path", "paths",
          "point", "points", "mark", "marks", "dots", "star", "stars", "diamond", "diamonds", "circles", "square",
          "squares", "ellipses", "row", "crosses", "ring", "guide", "band"}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_who_cannot_see_a_picture_is_told_what_is_drawn(entry):
    words = set(re.findall(r"[a-z-]+", entry.seen.lower()))
    assert len(entry.seen) >= 80
    assert entry.seen != entry.claim.title
    assert len(words & THINGS) >= 2
    assert words & {"falls", "fall", "rises", "rise", "climbs", "lie", "lies", "jumps", "become", "zigzags"}


@pytest.mark.parametrize("name", ROWS)
def test_the_picture_of_a_diagnosis_is_for_the_last_row(name):
    assert faults(lt.diagnose(*ROWS[name]).picture()) == []


# Machado, Oliveira and Fernandes 2009, complete dichromacy, in linear RGB.
EYES = {
    "all three cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def lab(colour, eye):
    """CIELAB of a colour as that eye sees it."""
    channels = np.asarray(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(EYES[eye] @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(np.maximum(xyz / (0.9505, 1.0, 1.089), 1e-6))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_every_pair_of_methods_stays_apart(eye):
    for one, other in combinations(COLOURS, 2):
        assert np.linalg.norm(lab(COLOURS[one], eye) - lab(COLOURS[other], eye)) > 12, (one, other)


def test_ink_is_the_same_hue_dark_enough_for_letters():
    for colour in COLOURS.values():
        rgb, dark = np.asarray(to_rgb(colour)), np.asarray(to_rgb(ink(colour)))
        assert 1.05 / (luminance(dark) + 0.05) >= 4.4
        assert np.all(dark <= rgb + 1e-9)
        assert np.linalg.norm(np.cross(dark, rgb)) <= 0.02

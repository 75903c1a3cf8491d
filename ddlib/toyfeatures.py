"""Features of simulated faces: eyes, nose, mouth, beard, glasses.

Each is painted on a `ddlib.toyworld.Canvas` at a place in the head's coordinates, foreshortened by
``near`` (1 = facing the viewer).
"""

from __future__ import annotations

import numpy as np

from ddlib.toyworld import bump, step


class Look:
    """What both eyes of a person share."""

    def __init__(self, iris, brow, rng):
        self.iris, self.brow = iris, brow
        self.gaze, self.openness = rng.normal(0, 0.018), rng.uniform(0.045, 0.072)
        self.lift, self.weight = rng.normal(0, 0.015), rng.uniform(0.02, 0.042)


def paint_eye(canvas, look, x, y, near, skin, side):
    """Paint one eye with its brow, at (x, y), foreshortened by ``near``."""
    where = canvas.window(x, y - 0.08, 0.32)
    u, v, e, wide = (canvas.u[where] - x) / near, canvas.v[where] - y, canvas.edge, 0.155
    arch = 1 - np.clip(u / wide, -1, 1) ** 2
    upper, lower = -look.openness * arch, 0.55 * look.openness * arch
    opening = step(v - upper, e) * step(lower - v, e) * step(wide - abs(u), e)
    canvas.paint(0.35 * bump(u, v, 0, -0.03, 0.2, 0.1), skin * 0.5, where)
    white = np.clip(0.75 + 1.6 * (v - upper), 0.55, 1)[..., None]
    canvas.paint(opening * 0.95, np.float32([0.86, 0.84, 0.82]) * white, where)
    r = np.hypot(u - look.gaze, v + 0.004)
    ring = np.clip(0.55 + 7 * r, 0, 1.25)[..., None]
    canvas.paint(opening * step(0.068 - r, e), look.iris * ring, where)
    canvas.paint(opening * step(0.030 - r, e), np.float32([0.02, 0.02, 0.02]), where)
    glint = bump(u, v, look.gaze + 0.02, -0.028, 0.013, 0.013)
    canvas.paint(0.9 * glint, np.float32([1, 1, 1]), where)
    dark = skin * (0.35 * float(look.brow.mean()) ** 0.2)
    lash = np.exp(-(((v - upper + 0.004) / 0.017) ** 2)) * step(wide + 0.02 - abs(u), 0.05)
    canvas.paint(0.85 * lash, dark * 0.4, where)
    crease = np.exp(-(((v - upper * 1.25 + 0.045) / 0.014) ** 2)) * step(wide - abs(u), 0.08)
    canvas.paint(0.35 * crease, skin * 0.45, where)
    under = np.exp(-(((v - lower - 0.012) / 0.015) ** 2)) * step(wide - abs(u), 0.06)
    canvas.paint(0.35 * under, skin * 0.5, where)
    s = u * side  # outwards
    line = -0.17 - look.lift - 0.06 * (1 - ((s - 0.05) / 0.24) ** 2)
    thick = look.weight * np.clip(1.1 - (s + 0.18) * 1.7, 0.25, 1.2)
    brow = np.exp(-(((v - line) / thick) ** 2)) * step(s + 0.2, 0.07) * step(0.23 - s, 0.08)
    canvas.paint(0.8 * brow, look.brow * 0.75, where)


def paint_nose(canvas, x, y, skin):
    """Paint the nose's underside and nostrils; its ridge is the height field's."""
    where = canvas.window(x, y, 0.3)
    u, v = canvas.u[where] - x, canvas.v[where] - y
    under = np.exp(-(((v - 0.085) / 0.035) ** 2)) * step(0.13 - abs(u), 0.08)
    canvas.paint(0.35 * under, skin * 0.42, where)
    for side in (-1, 1):
        canvas.paint(0.75 * bump(u, v, 0.06 * side, 0.062, 0.032, 0.02), skin * 0.2, where)
        wing = np.exp(-(((np.hypot(u - 0.07 * side, v - 0.03) - 0.062) / 0.018) ** 2))
        canvas.paint(0.25 * wing * step(u * side - 0.085, 0.05), skin * 0.4, where)


def paint_mouth(canvas, rng, x, y, near, skin):
    """Paint lips with an expression from sober to laughing."""
    where = canvas.window(x, y, 0.45)
    u, v = (canvas.u[where] - x) / near, canvas.v[where] - y
    wide, smile = rng.uniform(0.2, 0.28), rng.uniform(-0.15, 1.0)
    wide *= 1 + 0.2 * max(smile, 0)
    gap = rng.uniform(0.03, 0.075) if rng.random() < 0.35 and smile > 0.3 else 0.0
    full = rng.uniform(0.045, 0.085)
    t = np.clip(u / wide, -1, 1)
    arch = np.sqrt(np.maximum(1 - t * t, 0))
    line = v + 0.10 * smile * (t * t - 0.4)
    cupid = full * arch * (0.85 - 0.25 * np.exp(-((t / 0.16) ** 2)))
    lip = skin * np.float32([0.86, 0.56, 0.55]) + np.float32([0.04, 0.0, 0.01])
    lip = lip + float(rng.choice([0, 0, 0.6])) * (np.float32([0.65, 0.12, 0.18]) - lip)
    e, inside = 0.02, step(wide - abs(u), 0.02)
    canvas.paint(0.9 * step(line + cupid, e) * step(-line, e) * inside, lip * 0.82, where)
    lower = line - gap * arch
    glow = 1.0 + 0.25 * np.exp(-(((lower - 0.5 * full) / (0.4 * full)) ** 2)) * arch
    canvas.paint(
        0.9 * step(lower, e) * step(1.25 * full * arch - lower, e) * inside,
        lip * glow[..., None],
        where,
    )
    if gap:
        hole = step(line, 0.012) * step(gap * arch - line, 0.012) * inside
        _teeth(canvas, hole, 0.75 * gap * arch - line, t, where)
    else:
        canvas.paint(0.7 * np.exp(-((line / 0.012) ** 2)) * inside, lip * 0.35, where)
    corner = bump(abs(u), line, wide, 0, 0.035, 0.03)
    canvas.paint(0.4 * corner, skin * 0.4, where)
    canvas.paint(0.25 * bump(u, lower, 0, full * 1.9, 0.16, 0.03), skin * 0.45, where)


def _teeth(canvas, hole, below, t, where):
    """Paint an open mouth: darkness, and the upper teeth where ``below`` is positive."""
    canvas.paint(hole, np.float32([0.16, 0.05, 0.05]), where)
    teeth = hole * step(below, 0.02) * step(0.85 - abs(t), 0.2)
    canvas.paint(teeth, np.float32([0.9, 0.88, 0.84]) * (1 - 0.3 * t * t)[..., None], where)


def paint_beard(canvas, rng, colour, inside, mouth, fibre):
    """Paint stubble, a moustache or a beard along the jaw."""
    u, v = canvas.u, canvas.v
    style = rng.choice(["stubble", "moustache", "goatee", "full"])
    off = abs(u - mouth[0])
    lip = step(0.055 - abs(v - mouth[1] + 0.125 - 0.9 * off**2) - 0.12 * off, 0.06)
    lip *= step(0.3 - off, 0.12) * (1 - 0.5 * np.exp(-((off / 0.03) ** 2)))
    jaw = step(v - 0.68 + 0.95 * np.maximum(abs(u) - 0.3, 0), 0.16) * (
        1 - bump(u, v, mouth[0], mouth[1] + 0.02, 0.26, 0.12)
    )
    goatee = step(1 - np.hypot(off / 0.24, (v - 0.9) / 0.2), 0.35)
    mask = {
        "stubble": np.maximum(jaw, lip),
        "moustache": lip,
        "goatee": np.maximum(goatee, lip),
        "full": np.maximum(jaw, lip),
    }[style]
    weight = 0.3 if style == "stubble" else rng.uniform(0.75, 0.95)
    canvas.paint(weight * mask * inside, np.clip(colour * (0.85 + 0.3 * fibre)[..., None], 0, 1))


def paint_glasses(canvas, rng, eyes, y):
    """Paint a frame of two lenses, bridge and arms."""
    colour = np.float32(rng.choice([0.04, 0.1, 0.35])) + np.float32(rng.uniform(0, 0.15, 3))
    power, rx, ry = (
        float(rng.choice([2.0, 3.5, 6.0])),
        rng.uniform(0.2, 0.24),
        rng.uniform(0.14, 0.19),
    )
    thick = rng.uniform(0.012, 0.028)
    for x, near in eyes:
        where = canvas.window(x, y, 0.32)
        u, v = (canvas.u[where] - x) / near, canvas.v[where] - y
        radius = (abs(u / rx) ** power + abs(v / ry) ** power) ** (1 / power) - 1
        canvas.paint(0.10 * step(-radius, 0.1), np.float32([0.9, 0.95, 1.0]), where)
        canvas.paint(step(thick - abs(radius) * ry, canvas.edge), colour, where)
    (a, near_a), (b, near_b) = eyes
    left, right = a + rx * near_a, b - rx * near_b
    bar = step(thick - abs(canvas.v - y + 0.03), canvas.edge)
    u = canvas.u
    canvas.paint(bar * step(u - left, canvas.edge) * step(right - u, canvas.edge), colour)

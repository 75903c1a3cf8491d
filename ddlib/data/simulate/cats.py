"""Portraits of cats that do not exist, for the study's out-of-domain test."""

import numpy as np

from ddlib.data.simulate.scene import (
    PAINT_SIZE,
    Canvas,
    Scene,
    background,
    bump,
    draw_light,
    finish,
    shade,
    smooth_texture,
    step,
    strand,
)

COATS = np.float32(  # a row each for red, green and blue, a column for each colour
    [
        [0.1, 0.45, 0.75, 0.86, 0.4, 0.7],
        [0.09, 0.42, 0.48, 0.83, 0.3, 0.62],
        [0.09, 0.4, 0.24, 0.79, 0.22, 0.5],
    ]
).T
BLACK = np.float32([0.04, 0.03, 0.03])
CAT_EYES = np.float32([[0.72, 0.66, 0.2], [0.5, 0.66, 0.32], [0.35, 0.6, 0.72], [0.75, 0.5, 0.16]])


def cat(rng, size: int) -> Scene:
    """Return a portrait of a cat that does not exist."""
    n = PAINT_SIZE
    canvas = Canvas(n, rng.uniform(0.55, 0.7), rng.normal(0, 0.12), rng.normal(0, 0.06, 2).tolist())
    light = draw_light(rng)
    background(canvas, rng)
    u, v, e = canvas.u, canvas.v, canvas.edge
    coat, other = COATS[rng.choice(len(COATS), 2, replace=False)]
    ragged = 0.03 * smooth_texture(rng, n // 2, n)
    fur = _fur(canvas, rng, coat, other)
    body = 1 - abs(canvas.x / 1.0) ** 2 - abs((canvas.y - 1.5) / 1.0) ** 2
    canvas.paint(step(body + ragged, 6 * e), fur * 0.75)
    for side in (-1, 1):
        _cat_ear(canvas, side, ragged, fur)
    shape = 1 - abs(u / 0.95) ** 2.2 - abs((v - 0.1) / 0.78) ** 2.3
    inside = step(shape + ragged, 6 * e)
    height = 0.7 * np.sqrt(np.maximum(shape, 0.03)) + 0.22 * bump(u, v, 0, 0.42, 0.3, 0.2)
    for side in (-1, 1):
        height -= 0.06 * bump(u, v, 0.4 * side, 0.0, 0.22, 0.17)
    lit = shade(height, light, 2 / n / canvas.scale)
    face = fur * (0.3 + 0.85 * lit)[..., None]
    pale = bump(u, v, 0, 0.5, 0.35, 0.22) * rng.uniform(0.1, 0.8)
    face += pale[..., None] * (np.float32([0.86, 0.83, 0.8]) * lit[..., None] - face)
    canvas.paint(inside, np.clip(face, 0, 1))
    _cat_features(canvas, rng)
    return finish(rng, canvas.image, inside, size)


def _fur(canvas, rng, coat, other):
    """Return (n, n, 3) fur: fine strands, with stripes or patches of a second colour."""
    u, v = canvas.u, canvas.v
    angle, radius = np.arctan2(u, v - 0.35), np.hypot(u, v - 0.35)
    fibre = strand((angle + 4) * 130, radius * 30 + 50 * rng.random())
    bend = 0.35 * smooth_texture(rng, 16, canvas.size)
    if rng.random() < 0.6:
        stripes = np.sin(angle * rng.uniform(9, 14) + 2.5 * bend)
        pattern = step(stripes - 0.2, 0.8) * step(radius - 0.35, 0.3)
    else:
        pattern = step(bend - rng.uniform(0.1, 0.5), 0.15)
    mix = (rng.uniform(0.2, 0.9) * pattern)[..., None]
    return np.clip((coat + mix * (other - coat)) * (0.92 + 0.14 * fibre)[..., None], 0, 1)


def _cat_ear(canvas, side, ragged, fur):
    """Paint one pointed ear with its pink inside."""
    u, v, e = canvas.u * side, canvas.v, canvas.edge
    ear = 0.42 - 0.62 * abs(u - 0.62 - 0.12 * (v + 0.5)) / 0.5 + 0.75 * (v + 0.62)
    ear = np.minimum(ear, -0.22 - v)
    canvas.paint(step(ear + ragged, 5 * e), fur * 0.9)
    inside = 0.75 * step(ear - 0.14 + ragged, 0.1) * step(-0.35 - v, 0.2)
    canvas.paint(inside, np.float32([0.62, 0.42, 0.4]))


def _cat_features(canvas, rng):
    """Paint eyes with slit pupils, nose, mouth and whiskers."""
    u, v, e = canvas.u, canvas.v, canvas.edge
    iris, slit = CAT_EYES[rng.integers(len(CAT_EYES))], rng.uniform(0.025, 0.11)
    for side in (-1, 1):
        du, dv = (u - 0.4 * side), v - 0.02 + 0.25 * (abs(u) - 0.4)
        ball = 1 - abs(du / 0.2) ** 2 - abs(dv / 0.155) ** 2
        canvas.paint(step(ball + 0.25, 0.2), BLACK)
        glow = np.clip(0.6 + 2.2 * (dv + 0.12), 0.5, 1.2)[..., None]
        canvas.paint(step(ball, 8 * e), iris * glow)
        canvas.paint(step(1 - abs(du / slit) ** 1.6 - abs(dv / 0.145) ** 2, 8 * e), BLACK)
        canvas.paint(bump(u, v, 0.4 * side + 0.05, -0.04, 0.03, 0.03), np.float32([1, 1, 1]))
    width = np.maximum(0.13 - 0.9 * np.maximum(v - 0.3, 0), 0.01)
    nose = step(1 - abs(u) / width - np.maximum(0.27 - v, 0) * 40, 0.5) * step(0.43 - v, 0.02)
    canvas.paint(nose, rng.uniform(0.15, 0.75) * np.float32([1, 0.7, 0.68]))
    bow = abs(v - 0.62 + 4.4 * (abs(u) - 0.13) ** 2) + 9 * np.maximum(abs(u) - 0.25, 0)
    stem = abs(u) + 9 * np.maximum(abs(v - 0.5) - 0.09, 0)
    canvas.paint(0.7 * step(0.012 - np.minimum(bow, stem), 3 * e), BLACK)
    for side in (-1, 1):
        off = u * side
        reach = 0.55 * step(off - 0.22, 0.1) * step(1.15 - off, 0.3)
        for lift in (-0.12, 0.0, 0.13):
            line = abs(v - 0.5 - lift * (off - 0.1) * 1.6 - 0.1 * (off - 0.3) ** 2)
            canvas.paint(reach * step(0.006 - line, 2 * e), np.float32([0.93, 0.92, 0.9]))

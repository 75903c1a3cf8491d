"""Simulated portraits: a person's traits are drawn at random and painted from back to front.

Eyes, nose, mouth, beard and glasses are painted on a `ddlib.data.simulate.scene.Canvas` at a place
in the head's coordinates, foreshortened by ``near`` (1 = facing the viewer).
"""

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
    texture,
)

# Colours: a row each for red, green and blue, a column for each tone.
SKIN = np.float32(  # light to dark, after the Monk skin tone scale
    [
        [0.95, 0.93, 0.87, 0.76, 0.62, 0.46, 0.33, 0.24],
        [0.85, 0.80, 0.71, 0.58, 0.44, 0.31, 0.22, 0.165],
        [0.78, 0.70, 0.57, 0.43, 0.31, 0.22, 0.165, 0.13],
    ]
).T
HAIR = np.float32(
    [
        [0.09, 0.17, 0.26, 0.40, 0.52, 0.72, 0.82, 0.62, 0.85],
        [0.08, 0.12, 0.16, 0.22, 0.27, 0.56, 0.72, 0.61, 0.85],
        [0.08, 0.095, 0.10, 0.12, 0.13, 0.34, 0.52, 0.60, 0.84],
    ]
).T
EYES = np.float32(
    [[0.20, 0.33, 0.35, 0.34, 0.45], [0.12, 0.21, 0.47, 0.43, 0.47], [0.07, 0.11, 0.58, 0.28, 0.5]]
).T
STYLES = {"bald": 0.1, "short": 0.25, "parted": 0.15, "bob": 0.15, "long": 0.2, "curly": 0.15}
MOUTH = 0.56  # how far down the face


def portrait(rng, size: int) -> Scene:
    """Return a portrait of a person who does not exist.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides everything: pose, skin, hair, eyes, expression, glasses, beard, clothing, light.
    size : int
        Pixels of the square picture's side.
    """
    person = _Person(rng)
    background(person.canvas, rng)
    person.paint_mane()
    _body(person.canvas, rng, person.skin, person.light, person.width)
    person.paint_sides()
    inside, ridge, nose = person.paint_face()
    person.paint_features(inside, ridge, nose)
    return finish(rng, person.canvas.image, inside, size)


class _Person:
    """One person's traits, drawn once, and the layers that depend on many of them."""

    def __init__(self, rng):
        self.rng = rng
        at = rng.uniform(0, len(SKIN) - 1.001)
        skin = SKIN[int(at)] + (at % 1) * (SKIN[int(at) + 1] - SKIN[int(at)])
        self.skin = np.clip(skin * (1 + rng.normal(0, 0.025, 3)), 0.05, 1).astype(np.float32)
        dark = self.skin.mean() < 0.45
        hairs = [0.6, 0.2, 0.1, 0, 0, 0, 0, 0.05, 0.05] if dark else None
        self.hair = HAIR[rng.choice(len(HAIR), p=hairs)]
        self.iris = EYES[rng.choice(len(EYES), p=[0.8, 0.15, 0, 0.05, 0] if dark else None)]
        self.width, self.jaw = rng.uniform(0.66, 0.8), rng.uniform(0.12, 0.4)
        self.yaw = float(np.clip(rng.normal(0, 0.2), -0.5, 0.5))
        self.pitch, tilt = rng.normal(0, 0.03), rng.normal(0, 0.1)
        shift = rng.normal(0, 0.05), rng.normal(0, 0.035)
        self.canvas = Canvas(PAINT_SIZE, rng.uniform(0.6, 0.74), tilt, shift)
        self.light = draw_light(rng)
        self.style = str(rng.choice(list(STYLES), p=list(STYLES.values())))
        curly = self.style == "curly"
        curl = 1.0 if curly else float(rng.choice([0, 0, 0.3]))
        self.strands = _strands(self.canvas, rng, self.hair, self.light, curl)
        self.ragged = (0.016 + 0.03 * curl) * smooth_texture(rng, PAINT_SIZE // 4, PAINT_SIZE)
        self.covers_ears = self.style in ("bob", "long")
        volume = rng.uniform(0.05, 0.14) + 0.17 * curly
        self.hair_end = 0.9 if self.covers_ears else rng.uniform(-0.1, 0.15) + 0.4 * curly
        u, v = self.canvas.u, self.canvas.v
        top = abs(u / (self.width + volume)) ** 2.2 + abs((v + 0.1) / (0.95 + volume)) ** 2.2
        self.cap = step(1 - top + 2 * self.ragged, 5 * self.canvas.edge)

    def paint_mane(self):
        """Paint the hair that falls behind neck and shoulders."""
        if not self.covers_ears:
            return
        rng, u, v, e = self.rng, self.canvas.u, self.canvas.v, self.canvas.edge
        bottom = rng.uniform(0.75, 1.1) if self.style == "bob" else rng.uniform(1.5, 2.4)
        outer = self.width + rng.uniform(0.08, 0.18) + 0.12 * np.clip(v, 0, 1.5)
        outer -= 0.5 * np.clip(-v - 0.1, 0, 1) ** 1.5
        self.mane = step(outer - abs(u) + self.ragged, 3 * e) * step(v + 0.8, e)
        self.mane *= step(bottom - v + 2 * self.ragged, 0.15)
        self.canvas.paint(self.mane, self.strands * 0.6)

    def paint_sides(self):
        """Paint long hair before the shoulders, the ears, and the hair around the skull."""
        u, v = self.canvas.u, self.canvas.v
        if self.style == "long":
            front = step(abs(u) - self.width * 0.92 + 0.3 * self.ragged, 0.12) * step(v - 0.2, 0.4)
            self.canvas.paint(self.mane * front, self.strands * 0.85)
        for side in (-1, 1):
            where = self.canvas.window(side * self.width * 0.97 - 0.15 * self.yaw, 0.08, 0.3)
            off = u[where] - side * self.width * 0.97 + 0.15 * self.yaw
            ear = 1 - np.hypot(off / 0.12, (v[where] - 0.08) / 0.21)
            tone = 0.78 + 0.3 * self.light[0] * side - 0.35 * np.clip(ear, 0, 0.6)
            self.canvas.paint(step(ear, 0.12), self.skin * tone[..., None], where)
        if self.style != "bald":
            end = step(self.hair_end - v + 3 * self.ragged, 0.12)
            self.canvas.paint(self.cap * end, self.strands * 0.8)

    def paint_face(self):
        """Paint the shaded skin; return its soft mask, the nose's ridge (u) and tip (v)."""
        rng, canvas, u, v = self.rng, self.canvas, self.canvas.u, self.canvas.v
        narrow = self.width * (1 - self.jaw * np.clip(v + 0.1, 0, 1.1) ** 1.6)
        outline = 1 - abs(u / narrow) ** 2.3 - abs(v) ** 2.5  # positive inside
        inside = step(outline, 4 * canvas.edge)
        height, ridge, nose = _height(u, v, self.width, self.yaw, self.pitch, rng)
        lit = shade(height, self.light, 2 / canvas.size / canvas.scale)
        tone = (rng.uniform(0.22, 0.42) + rng.uniform(0.72, 0.9) * lit)[..., None]
        warm = np.float32([1.0, 0.985, 0.97]) ** ((1 - np.clip(tone, 0, 1)) * 12)
        face = self.skin * tone * warm
        for angle in (-0.62, 0.62):  # flushed cheeks
            x, near = _on_head(angle, self.yaw)
            cheek = bump(u, v, x * self.width, 0.32 + self.pitch, 0.2 * near, 0.14)[..., None]
            face *= 1 - rng.uniform(0.05, 0.11) * cheek * np.float32([0.0, 1.0, 0.9])
        shine = np.clip(lit - 0.88, 0, 1) ** 2 * rng.uniform(2, 10)
        canvas.paint(inside, np.clip(face + shine[..., None], 0, 1))
        return inside, ridge, nose

    def paint_features(self, inside, ridge, nose):
        """Paint eyes, nose, mouth, beard, hair over the brow, and glasses."""
        rng, canvas, skin = self.rng, self.canvas, self.skin * np.float32(0.9)
        heads = [_on_head(angle, self.yaw) for angle in (-0.46, 0.46)]
        eyes = [(x * self.width, near) for x, near in heads]
        brow = self.hair * 0.6 + 0.2 * self.skin
        paint_eyes(canvas, rng, eyes, self.pitch - 0.02, skin, self.iris, brow)
        paint_nose(canvas, ridge, nose + self.pitch, skin)
        mouth = ridge * 0.8, MOUTH + self.pitch
        paint_mouth(canvas, rng, *mouth, float(np.cos(self.yaw)), skin)
        if self.style in ("bald", "short", "parted") and rng.random() < 0.5:
            fibre = texture(rng, *inside.shape)
            paint_beard(canvas, rng, self.hair * 0.9 + 0.04, inside, mouth, fibre)
        if self.style != "bald":
            canvas.paint(self._hairline() * self.cap, self.strands)
        if rng.random() < 0.25:
            paint_glasses(canvas, rng, eyes, self.pitch)

    def _hairline(self):
        """Return the soft mask of the hair over brow and temples."""
        rng, u, v = self.rng, self.canvas.u, self.canvas.v
        line = -0.62 + rng.uniform(-0.08, 0.06)
        if self.style == "parted":
            line = line + 0.42 * np.clip(abs(u - rng.uniform(-0.4, 0.4)) - 0.05, 0, 1) ** 1.2
        elif self.style in ("bob", "short") and rng.random() < 0.5:  # a fringe
            line = line + 0.25 + 0.05 * np.cos(u * 5)
        else:
            line = line + rng.uniform(0.25, 0.6) * u * u
        temple = abs(u) - self.width * (0.86 if self.covers_ears else 0.97)
        sides = step(temple + self.ragged, 0.05) * step(self.hair_end - 0.1 - v, 0.15)
        return np.maximum(step(line - v + 1.6 * self.ragged, 0.09), sides)


def _body(canvas, rng, skin, light, width):
    """Paint neck, shoulders and clothing."""
    x, y, e = canvas.x, canvas.y, canvas.edge
    neck_width = width * rng.uniform(0.5, 0.66)
    lean = x - 0.1 * light[0]
    neck_shade = (0.5 + 0.4 * step(y - 1.1, 0.8)) * (1 - 0.35 * np.clip(lean * -light[0] * 2, 0, 1))
    neck_shade *= 1 - 0.45 * np.exp(-(((y - 0.95) / 0.2) ** 2))  # the head's shadow
    neck = step(neck_width + 0.12 * np.maximum(y - 1, 0) - abs(x), e) * step(y - 0.3, e)
    canvas.paint(neck, skin * neck_shade[..., None])
    top, spread = rng.uniform(1.1, 1.25), rng.uniform(1.25, 1.7)
    slope = 0.5 * np.maximum(abs(x) - neck_width, 0) ** 1.25 / spread
    slope = slope + 3 * np.maximum(abs(x) - spread, 0)
    neckline = float(rng.choice([0.0, 0.25, 0.7])) * np.maximum(1 - abs(x) / (neck_width * 1.05), 0)
    below = y - top - slope - neckline
    cloth = np.float32(np.clip(rng.uniform(0.05, 0.9, 3) * 0.6 + rng.uniform(0, 0.35), 0.03, 0.95))
    fold = 0.72 + 0.25 * (light[0] * x * 0.5 - 0.1 * (y - top)) + 0.05 * texture(rng, *x.shape)
    if rng.random() < 0.25:  # stripes
        fold = fold + 0.13 * np.sin(y * rng.uniform(25, 45)) * float(rng.choice([1, -1]))
    fold -= 0.25 * np.exp(-((below / 0.07) ** 2))  # a collar's edge
    canvas.paint(step(below, e * 1.5), np.clip(cloth * fold[..., None] * 1.2, 0, 1))


def _strands(canvas, rng, colour, light, curl):
    """Return (n, n, 3) hair colour: strands that run down from the crown, and a sheen."""
    u, v = canvas.u, canvas.v
    lean = rng.uniform(-0.4, 0.4)
    angle = np.arctan2(u - lean, v + 1.6 + curl)
    radius = np.hypot(u - lean, v + 1.6)
    wave = curl * 0.08 * np.sin(radius * rng.uniform(14, 26) + 4 * angle)
    fibre = strand((angle + wave + 4) * 170, radius * (14 + 60 * curl) + 40 * rng.random())
    sheen = bump(u, v, 0.5 * light[0], -0.75, 0.7, 0.22)
    tone = 0.85 + 0.16 * fibre + 0.5 * sheen * (0.6 + 0.3 * fibre) + 0.2 * light[0] * u
    return np.clip(colour * np.maximum(tone, 0.15)[..., None] + 0.05 * sheen[..., None], 0, 1)


def _on_head(angle, yaw):
    """Return where a feature at ``angle`` on a turned head appears, and its foreshortening."""
    return float(np.sin(angle + yaw)), max(float(np.cos(angle + yaw)), 0.25)


def _height(u, v, width, yaw, pitch, rng):
    """Return the face as a height field: skull, brow, sockets, cheeks, nose, lips and chin."""
    h = 0.95 * np.sqrt(np.maximum(1.02 - (u / width) ** 2 * 0.92 - v * v * 0.75, 0.03))
    nose = float(np.sin(yaw)) * 0.9
    for angle in (-0.46, 0.46):
        x, near = _on_head(angle, yaw)
        x *= width
        h -= 0.075 * bump(u, v, x, -0.02 + pitch, 0.17 * near, 0.11)
        h += 0.03 * bump(u, v, x, -0.2 + pitch, 0.22 * near, 0.07)
        h += 0.06 * bump(u, v, x * 1.1, 0.3 + pitch, 0.2 * near, 0.17)
    length = rng.uniform(0.26, 0.34)
    ridge = nose * width * 0.55
    h += 0.11 * bump(u, v, ridge * 0.7, 0.1 + pitch, 0.075, 0.2)
    h += rng.uniform(0.12, 0.17) * bump(u, v, ridge, length + pitch, rng.uniform(0.09, 0.13), 0.09)
    h += 0.035 * bump(u, v, ridge * 0.8, 0.56 + pitch, 0.2, 0.09)
    h += 0.05 * bump(u, v, ridge * 0.6, 0.86, 0.17, 0.11)
    return h, ridge, length


def paint_eyes(canvas, rng, eyes, y, skin, iris, brow):
    """Paint two eyes of one look with their brows, each at its (x, near) and ``y``."""
    gaze, openness = rng.normal(0, 0.018), rng.uniform(0.045, 0.072)
    lift, weight = rng.normal(0, 0.015), rng.uniform(0.02, 0.042)
    for (x, near), side in zip(eyes, (-1, 1), strict=True):
        where = canvas.window(x, y - 0.08, 0.32)
        u, v, e, wide = (canvas.u[where] - x) / near, canvas.v[where] - y, canvas.edge, 0.155
        arch = 1 - np.clip(u / wide, -1, 1) ** 2
        upper, lower = -openness * arch, 0.55 * openness * arch
        opening = step(v - upper, e) * step(lower - v, e) * step(wide - abs(u), e)
        canvas.paint(0.35 * bump(u, v, 0, -0.03, 0.2, 0.1), skin * 0.5, where)
        white = np.clip(0.75 + 1.6 * (v - upper), 0.55, 1)[..., None]
        canvas.paint(opening * 0.95, np.float32([0.86, 0.84, 0.82]) * white, where)
        r = np.hypot(u - gaze, v + 0.004)
        ring = np.clip(0.55 + 7 * r, 0, 1.25)[..., None]
        canvas.paint(opening * step(0.068 - r, e), iris * ring, where)
        canvas.paint(opening * step(0.030 - r, e), np.float32([0.02, 0.02, 0.02]), where)
        glint = bump(u, v, gaze + 0.02, -0.028, 0.013, 0.013)
        canvas.paint(0.9 * glint, np.float32([1, 1, 1]), where)
        dark = skin * (0.35 * float(brow.mean()) ** 0.2)
        lash = np.exp(-(((v - upper + 0.004) / 0.017) ** 2)) * step(wide + 0.02 - abs(u), 0.05)
        canvas.paint(0.85 * lash, dark * 0.4, where)
        crease = np.exp(-(((v - upper * 1.25 + 0.045) / 0.014) ** 2)) * step(wide - abs(u), 0.08)
        canvas.paint(0.35 * crease, skin * 0.45, where)
        under = np.exp(-(((v - lower - 0.012) / 0.015) ** 2)) * step(wide - abs(u), 0.06)
        canvas.paint(0.35 * under, skin * 0.5, where)
        s = u * side  # outwards
        line = -0.17 - lift - 0.06 * (1 - ((s - 0.05) / 0.24) ** 2)
        thick = weight * np.clip(1.1 - (s + 0.18) * 1.7, 0.25, 1.2)
        hairs = np.exp(-(((v - line) / thick) ** 2)) * step(s + 0.2, 0.07) * step(0.23 - s, 0.08)
        canvas.paint(0.8 * hairs, brow * 0.75, where)


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
    below = 0.9 * step(lower, e) * step(1.25 * full * arch - lower, e) * inside
    canvas.paint(below, lip * glow[..., None], where)
    if gap:
        hole = step(line, 0.012) * step(gap * arch - line, 0.012) * inside
        canvas.paint(hole, np.float32([0.16, 0.05, 0.05]), where)
        teeth = hole * step(0.75 * gap * arch - line, 0.02) * step(0.85 - abs(t), 0.2)
        white = np.float32([0.9, 0.88, 0.84]) * (1 - 0.3 * t * t)[..., None]
        canvas.paint(teeth, white, where)
    else:
        canvas.paint(0.7 * np.exp(-((line / 0.012) ** 2)) * inside, lip * 0.35, where)
    corner = bump(abs(u), line, wide, 0, 0.035, 0.03)
    canvas.paint(0.4 * corner, skin * 0.4, where)
    canvas.paint(0.25 * bump(u, lower, 0, full * 1.9, 0.16, 0.03), skin * 0.45, where)


def paint_beard(canvas, rng, colour, inside, mouth, fibre):
    """Paint stubble, a moustache or a beard along the jaw."""
    u, v = canvas.u, canvas.v
    style = rng.choice(["stubble", "moustache", "goatee", "full"])
    off = abs(u - mouth[0])
    lip = step(0.055 - abs(v - mouth[1] + 0.125 - 0.9 * off**2) - 0.12 * off, 0.06)
    lip *= step(0.3 - off, 0.12) * (1 - 0.5 * np.exp(-((off / 0.03) ** 2)))
    jaw = step(v - 0.68 + 0.95 * np.maximum(abs(u) - 0.3, 0), 0.16)
    jaw = jaw * (1 - bump(u, v, mouth[0], mouth[1] + 0.02, 0.26, 0.12))
    goatee = step(1 - np.hypot(off / 0.24, (v - 0.9) / 0.2), 0.35)
    chin = {"moustache": lip, "goatee": goatee}.get(style, jaw)
    weight = 0.3 if style == "stubble" else rng.uniform(0.75, 0.95)
    hairs = np.clip(colour * (0.85 + 0.3 * fibre)[..., None], 0, 1)
    canvas.paint(weight * np.maximum(chin, lip) * inside, hairs)


def paint_glasses(canvas, rng, eyes, y):
    """Paint a frame of two lenses, bridge and arms."""
    colour = np.float32(rng.choice([0.04, 0.1, 0.35])) + np.float32(rng.uniform(0, 0.15, 3))
    power = float(rng.choice([2.0, 3.5, 6.0]))
    rx, ry = rng.uniform(0.2, 0.24), rng.uniform(0.14, 0.19)
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

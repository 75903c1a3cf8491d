"""What the explanation experiments of the notebooks need: face regions, planted evidence."""

import numpy as np

from ddlib.data.simulate.dataset import face_boxes
from ddlib.data.simulate.generators import camera, gan_decoder
from ddlib.data.simulate.portraits import portrait
from ddlib.images.faces import INSTALL, find_face
from ddlib.images.jpeg import recompress

CENTRE = 0.6  # side of the central box as a share of the image's


def face_regions(chosen, images: np.ndarray, simulated: bool) -> tuple[np.ndarray, np.ndarray, str]:
    """Return where the face is in each prepared image.

    Parameters
    ----------
    chosen : Manifest
        The N images; of simulated ones the faces are known.
    images : (N, S, S, 3) uint8
        The same, prepared for the network.

    Returns
    -------
    boxes : (N, 4) int
        x0, y0, x1, y1 in pixels of `images`; x1 and y1 are excluded.
    found : (N,) bool
        False where no face was found; the box is then the central one.
    how : str
        Where the boxes come from, in words.
    """
    n, size = images.shape[:2]
    margin = round(size * (1 - CENTRE) / 2)
    boxes, found = np.tile([margin, margin, size - margin, size - margin], (n, 1)), np.ones(n, bool)
    if simulated:
        table = face_boxes(chosen).iloc[:, 1:].to_numpy(float)
        scale = size / chosen.table["width"].to_numpy()[:, None]
        low, high = np.floor(table[:, :2] * scale), np.ceil(table[:, 2:] * scale)
        boxes = np.clip(np.hstack([low, high]), 0, size).astype(int)
        return boxes, found, "known from the simulation"
    try:
        for i, image in enumerate(images):
            box = find_face(image)
            found[i] = box is not None
            boxes[i] = box or boxes[i]
    except ImportError:
        how = f"the central {CENTRE:.0%} of each side; for a face detector: {INSTALL}"
        return boxes, found, how
    return boxes, found, "OpenCV's Haar detector"


def maps_for_predicted_class(cam, images: np.ndarray, layer: str | None = None) -> np.ndarray:
    """Return the heat for what the model decided: "fake" evidence if it says fake, else "real".

    `cam` is a `GradCAM`, `layer` as it takes one. The maps are (N, H, W) float32 in [0, 1], all
    zero where nothing speaks for the decision.
    """
    fake, real = (cam(images, word, layer, images.shape[1:3]) for word in ("fake", "real"))
    return np.where((fake.scores >= 0.5)[:, None, None], fake.heat, real.heat)


def simulated_pairs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return n simulated scenes twice: photographed, and decoded by the simulated GAN.

    Both are (n, 256, 256, 3) uint8, without JPEG, and agree but for the traces.
    """
    photographs, decoded = np.empty((2, n, 256, 256, 3), np.uint8)
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        scene = portrait(rng, 256).image
        photographs[i] = camera(rng, scene)
        decoded[i] = gan_decoder(rng, scene)
    return photographs, decoded


def plant_evidence(images, donors) -> tuple[np.ndarray, np.ndarray]:
    """Put one quarter of each donor into its image, at the quarter's own place.

    Each of the four quarters is taken equally often, in random order. So a map that always peaks at
    the same place, such as the centre, finds one in four, as a random point does.

    Parameters
    ----------
    images, donors : (N, H, W, 3) uint8

    Returns
    -------
    planted, boxes : (N, H, W, 3) uint8, saved once as JPEG of quality 90, and (N, 4) int
    """
    if images.shape != donors.shape:
        raise ValueError(f"images {images.shape} and donors {donors.shape} must have one shape")
    n, height, width = images.shape[0], images.shape[1] // 2, images.shape[2] // 2
    row, column = divmod(np.random.default_rng(0).permutation(np.arange(n) % 4), 2)
    x0, y0 = column * width, row * height
    boxes = np.stack([x0, y0, x0 + width, y0 + height], axis=1)
    planted = images.copy()
    for image, donor, (left, top, right, bottom) in zip(planted, donors, boxes, strict=True):
        image[top:bottom, left:right] = donor[top:bottom, left:right]
        image[:] = recompress(image, 90)
    return planted, boxes

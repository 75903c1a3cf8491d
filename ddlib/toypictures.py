"""The pictures of the simulated data set: which there are, and how one is made.

Every picture follows from (seed, its number) alone. Size, format and JPEG quality have the same
distribution in both classes, unless the study's flaw is asked for.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ddlib import toycats, toygenerators, toyportraits

QUALITIES = (80, 95)  # JPEG qualities, both included
LABELS = {"toy-camera": "real", "toy-cat-camera": "real"}
DECODERS = {
    "toy-camera": toygenerators.camera,
    "toy-cat-camera": toygenerators.camera,
    "toy-gan": toygenerators.gan_decoder,
    "toy-cat-vq": toygenerators.vq_decoder,
    "toy-sd512": toygenerators.sd_decoder,
    "toy-sd768": toygenerators.sd_decoder,
    "toy-sd1024": toygenerators.sd_decoder,
}
SD_SIZES = (512, 768, 1024)


@dataclass(frozen=True)
class Job:
    """One picture to make."""

    index: int
    seed: int
    split: str
    source: str
    size: int
    format: str = "JPEG"

    @property
    def path(self) -> str:
        """Where the file goes, relative to the data set."""
        suffix = "jpg" if self.format == "JPEG" else "png"
        return f"{self.split}/{self.source}/{self.index:05d}_{self.size}.{suffix}"


def plan(counts, seed, confounded) -> list[Job]:
    """Return every picture of the data set, the largest first so that workers end together."""
    wanted = []
    for split, of in counts.items():
        wanted += [(split, source, 256) for source in ("toy-camera", "toy-gan")] * of["gan"]
        wanted += [(split, source, 256) for source in ("toy-cat-camera", "toy-cat-vq")] * of["cat"]
        for size in SD_SIZES:
            real_size = 256 if confounded else size
            wanted += [(split, "toy-camera", real_size), (split, f"toy-sd{size}", size)] * of["sd"]
    jobs = [
        Job(i, seed, *want, "PNG" if confounded and "-sd" in want[1] else "JPEG")
        for i, want in enumerate(wanted)
    ]
    return sorted(jobs, key=lambda job: -job.size)


def make(job: Job, root: Path) -> dict:
    """Make one picture from (seed, index) alone, write it and return its row."""
    rng = np.random.default_rng((job.seed, job.index))
    paint = toycats.cat if "-cat-" in job.source else toyportraits.portrait
    scene = paint(rng, job.size)
    picture = DECODERS[job.source](rng, scene.image)
    quality = int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
    data = _encode(picture, job.format, quality)
    (root / job.path).write_bytes(data)
    return {
        "index": job.index,
        "path": job.path,
        "label": LABELS.get(job.source, "fake"),
        "source": job.source,
        "split": job.split,
        "identity": f"toy-{job.seed}-{job.index}",
        "crop": 1.0,
        "width": job.size,
        "height": job.size,
        "format": job.format,
        "bytes": len(data),
        "jpeg_quality": float(quality) if job.format == "JPEG" else float("nan"),
        "sha256": hashlib.sha256(data).hexdigest(),
        **dict(zip(("face_x0", "face_y0", "face_x1", "face_y1"), scene.face_box, strict=True)),
    }


def _encode(picture, kind, quality) -> bytes:
    """Return the bytes of a picture file; every JPEG has 4:2:0 chroma."""
    buffer = io.BytesIO()
    options = (
        {"quality": quality, "subsampling": "4:2:0"} if kind == "JPEG" else {"compress_level": 1}
    )
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()

"""ddlib: tell real face photographs from AI-generated ones, measure it, explain it.

The package follows one sentence: a source becomes a manifest, a manifest becomes batches, batches
train a detector, the detector is measured, explained and shown. The names below are loaded when
they are first used, so that ``import ddlib`` stays fast and loads no TensorFlow.
"""

import os
from importlib import import_module

__version__ = "0.2.0"

PUBLIC = {  # name -> module
    "FAKE": "protocol",
    "REAL": "protocol",
    "Protocol": "protocol",
    "preset": "protocol",
    "read_image": "images.read",
    "overlay": "images.overlay",
    "ela_map": "ela",
    "open_folder": "data.sources",
    "build_detector": "mobilenet",
    "GradCAM": "gradcam",
    "open_detector": "deploy.detector",
    "train": "study.train",
    "evaluate": "study.train",
    "open_study": "study.study",
}
__all__ = [*PUBLIC, "__version__"]

# TensorFlow reads these once, when it starts. Two threads: a sum of floating-point numbers depends
# on how many threads share it, and results must not depend on the machine (`Protocol.threads`).
os.environ["KERAS_BACKEND"] = "tensorflow"  # the only one that Grad-CAM and the export work with
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several notebooks may share a GPU


def __getattr__(name):
    if name not in PUBLIC:
        raise AttributeError(f"module 'ddlib' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(f"ddlib.{PUBLIC[name]}"), name)


def __dir__():
    return sorted([*globals(), *PUBLIC])

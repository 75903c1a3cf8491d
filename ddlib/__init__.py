"""ddlib: tell real face photographs from AI-generated ones, measure it, explain it.

The package follows one sentence: a source becomes a manifest, a manifest becomes batches, batches
train a detector, the detector is measured, explained and shown.
"""

import os

from ddlib.protocol import FAKE, REAL, Protocol, preset

__version__ = "0.1.0"

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it once, when it starts

__all__ = ["FAKE", "REAL", "Protocol", "preset", "__version__"]

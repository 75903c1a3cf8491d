"""What the bytes and pixels of a file give away without a network."""

from ddlib.traces.jpeg_history import edge_correlation, fixed_point, quality_sweep
from ddlib.traces.shortcuts import (
    contingency,
    cross_val_scores,
    leaks,
    metadata_baseline,
    metadata_reaches_model,
)
from ddlib.traces.spectrum import mean_spectrum, residual, spectra_by_preparation

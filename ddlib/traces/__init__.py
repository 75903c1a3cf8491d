"""What the bytes and pixels of a file give away without a network."""

from ddlib.traces.jpeg_history import edge_correlation, fixed_point, quality_sweep
from ddlib.traces.shortcuts import (
    contingency,
    leaks,
    metadata_baseline,
    metadata_features,
    metadata_reaches_model,
    shortcuts,
)
from ddlib.traces.spectral_baseline import (
    cross_val_scores,
    radial_features,
    rows_by_class,
    spectra_by_preparation,
)
from ddlib.traces.spectrum import mean_spectrum, radial_profile, residual

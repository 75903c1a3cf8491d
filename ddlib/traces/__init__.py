"""What the bytes and pixels of a file give away without a network."""

from ddlib.traces.jpeg_history import (
    block_means,
    edge_correlation,
    edge_energy,
    fixed_point,
    quality_sweep,
)
from ddlib.traces.shortcuts import (
    contingency,
    leaks,
    metadata_baseline,
    metadata_features,
    metadata_reaches_model,
    reprocess,
    reprocess_class,
    shortcuts,
)
from ddlib.traces.spectral_baseline import (
    cross_val_scores,
    radial_features,
    rows_by_class,
    spectra_by_preparation,
)
from ddlib.traces.spectrum import mean_spectrum, radial_profile, residual

__all__ = [
    "block_means",
    "contingency",
    "cross_val_scores",
    "edge_correlation",
    "edge_energy",
    "fixed_point",
    "leaks",
    "mean_spectrum",
    "metadata_baseline",
    "metadata_features",
    "metadata_reaches_model",
    "quality_sweep",
    "radial_features",
    "radial_profile",
    "reprocess",
    "reprocess_class",
    "residual",
    "rows_by_class",
    "shortcuts",
    "spectra_by_preparation",
]

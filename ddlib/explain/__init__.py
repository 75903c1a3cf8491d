"""Whether a heat map can be trusted."""

from ddlib.explain.experiments import (
    central_box,
    face_regions,
    maps_for_predicted_class,
    plant_squares,
    simulated_pairs,
)
from ddlib.explain.faithfulness import (
    Curve,
    cascading_randomization,
    centred_map,
    compare_rankings,
    deletion_curve,
    filled,
    insertion_curve,
    random_maps,
    randomize_layers,
    similarity,
)
from ddlib.explain.localisation import area_share, by_decision, pointing_game, share_of_heat

__all__ = [
    "Curve",
    "area_share",
    "by_decision",
    "cascading_randomization",
    "central_box",
    "centred_map",
    "compare_rankings",
    "deletion_curve",
    "face_regions",
    "filled",
    "insertion_curve",
    "maps_for_predicted_class",
    "plant_squares",
    "pointing_game",
    "random_maps",
    "randomize_layers",
    "share_of_heat",
    "similarity",
    "simulated_pairs",
]

"""Whether a heat map can be trusted."""

from ddlib.explain.experiments import (
    face_regions,
    maps_for_predicted_class,
    plant_evidence,
    simulated_pairs,
)
from ddlib.explain.faithfulness import (
    cascading_randomization,
    centred_map,
    perturbation_curve,
    random_maps,
)
from ddlib.explain.localisation import area_share, by_decision, pointing_game, share_of_heat

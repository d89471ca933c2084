"""What the theory allows, in numbers: every term of every bound, with NumPy alone.

Give the constants of your problem and read off every part. Numbers or arrays go in and broadcast
together; a named tuple comes out with the parts, their sum, never capped, and a record of the
constants with their provenance: ``certified`` (proved from known quantities), ``measured`` or
``assumed``. A bound that does not exist is infinite.

>>> drift_constant_share(0.1, 0.1, alpha=0.5, generation=10).total.round(4)
np.float64(0.1999)

On the command line: ``python -m icl_stl.bounds --help``. Statements and proofs, numbered as the
docstrings cite them: ``paper_checks/THEORY.md`` in the repository.

=====================  ============================================================================
``drift``              distance of generation i's law from the real law
``stability``          influence of one real example, recursive stability, phase condition
``generalization``     risk minus empirical risk of generation i, by parts; excess risk
``plateau``            where a constant share ends: bias, noise, refit error; KL; kept inputs
``convergence``        bounds for every generation, rates in n, time scales in i
``optimum``            synthetic-to-real ratio of least bound, certified
``transformers``       stability of in-context learners from norms of weights; the context loop
``linear_attention``   gap of linear attention in context, certified and not vacuous
``localised``          gap and risk by variances: around a parameter, held-out rows, PAC-Bayes
``sources``            a law from rows of hidden sources: best estimators, the price
``paper_forms``        shapes of the paper's own bounds, constants assumed
=====================  ============================================================================

The arguments of the room; a docstring names those that are its own. What is no number or outside
its range is a ValueError that names the argument, its value and what would be right.

===================  ==========================================================  ===================
``n``                real rows: of the fixed set, or new ones every generation   >= 1
``n_syn``            m, synthetic rows a generation                              >= 1
``alpha``            real share of the training sets after generation 0         [0, 1]
``alphas``           real shares of generations 1..G, [..., G]                   [0, 1]
``weight``           w, weight of the real empirical risk                        [0, 1]
``weights``          w_ij, share of j's law in what i learns from, [G+1, G+1]    shares
``generation``       i (in a context g); inf is the limit of the loop            whole, >= 0, or inf
``generations``      G, the last generation                                      whole, 0 to 10000
``M``                largest loss                                                > 0
``b``                loss stability, change of the loss per changed share        >= 0
``kappa``            generator stability, TV of its laws per changed share       >= 0
``c``                constant of the one-step error of N rows, e + c N^-a        >= 0
``a``                rate of the one-step error                                  > 0
``floor``            e, error that no amount of data removes                     >= 0
``eps0``             one-step error of generation 0, unit of the distance        >= 0
``eps``              the same of later generations, or of 0..G, [..., G+1]       >= 0
``discrepancy``      d, loss discrepancy of laws i-1 and 0, mean over loops      >= 0, or inf
``delta``            probability of failure                                      (0, 1)
``log_size``         natural logarithm of the class's size                       >= 0
``beta``             replace-one uniform stability of the loss                   >= 0
``objective``        the bound that is minimised                                 gap, risk, uniform
``fresh``            whether every generation draws n new real rows              True, False
``provenance``       how the constants are known, one word or one for each       as above
``dim``              d, dimension of the inputs                                  >= 1
``context``          k, labelled examples in a prompt                            >= 1
``sigma``            standard deviation of the label noise                       >= 0
``examples``         m, labelled examples in the context                         >= 1
``layers``           of the transformer, in order                                layers
``radius``           R_0, bound on the norm of embedded tokens                   >= 0
``readout``          norm of w_o, which reads the prediction                     >= 0
``change``           bound on change of the replaced token; None: 2 R_0          [0, 2 R_0]
``label_embedding``  norm of E_y, change of a token per unit of label            >= 0
===================  ==========================================================  ===================
"""

from typing import Any

from icl_stl.bounds import paper_forms
from icl_stl.bounds._kinds import Constant, in_words
from icl_stl.bounds.convergence import *
from icl_stl.bounds.drift import *
from icl_stl.bounds.generalization import *
from icl_stl.bounds.linear_attention import *
from icl_stl.bounds.localised import *
from icl_stl.bounds.optimum import *
from icl_stl.bounds.plateau import *
from icl_stl.bounds.sources import *
from icl_stl.bounds.stability import *
from icl_stl.bounds.transformers import *

# fmt: off
__all__ = [
    "ACTIVATION_SLOPES", "BiasNoise", "BitsGap", "Certificate", "Constant", "ContextLoop",
    "CoupledGap", "Drift", "Exponents", "Gap", "KeptInputsLimit", "LinearAttentionGap",
    "LinearLayer", "LocalisedGap", "NetworkRisks", "OptimalSize", "Plateau", "RMSNorm",
    "RiskBound", "SoftmaxLayer", "SourcesError", "SphereMoments", "SquarePlateau", "Stability",
    "StableAlgorithmGap", "TimeScales", "UniformGap", "accumulate_influence",
    "accumulate_weights", "anchored_weights", "attention_cap", "best_fresh_weight",
    "bias_noise_drift", "bias_noise_limit", "bits_gap", "bousquet_elisseeff",
    "bousquet_klochkov_zhivotovskiy", "causal_replace_one", "causal_spread", "closed_form_size",
    "context_error", "context_loop", "contraction_stability", "convergence_exponents",
    "coupled_gap", "delta_for_every_generation", "discrepancy_at_rate", "drift_accumulate",
    "drift_accumulate_constant", "drift_accumulate_growing", "drift_anchored",
    "drift_constant_share", "drift_convex_square", "drift_kl", "drift_recursion",
    "drift_replace", "drift_root_share", "drift_varying_share", "excess_risk",
    "excess_risk_at_rate", "expected_gap", "fresh_data_stability", "gaussian_head",
    "generalization_gap", "generalization_gap_at_rate", "held_out_risk",
    "influence_from_stability", "kept_inputs_limit", "kl_eta_bound", "linear_attention",
    "linear_attention_gap", "linear_attention_gap_prior", "localised_gap", "log_cover_ball",
    "mixed_variance", "mixture_kl_cap", "necessary_share", "network_risks", "optimal_size",
    "pac_bayes_risk", "paper_forms", "parameter_stability", "phase_threshold", "plateau",
    "plateau_affine", "plateau_in_squares", "plateau_prediction", "proved_directions",
    "published_generic", "quantised_risk", "recursive_stability", "replace_one",
    "replace_one_path", "sources_rates", "sphere_moments", "synthetic_influence",
    "synthetic_trade_off", "time_scales", "total_variation_from_kl", "uniform_convergence_gap",
    "uniform_gap", "uniform_recursive_stability", "varying_share_influence",
    "varying_share_weights", "weighted_gap", "weighted_stability",
]
# fmt: on

_kind: Any
for _kind in (*map(globals().get, __all__), paper_forms.PaperForm):
    if hasattr(_kind, "_fields") and "__str__" not in vars(_kind):
        _kind.__str__ = in_words

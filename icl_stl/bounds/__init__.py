"""What the theory allows, in numbers: every term of every bound, with NumPy alone.

Give the constants of your problem and read off every part. Numbers or arrays go in and broadcast
together; a named tuple comes out with the parts, their sum, never capped, and a record of the
constants with their provenance: ``certified`` (proved from known quantities), ``measured`` or
``assumed``. A bound that does not exist is infinite; bad input raises ValueError.

>>> drift_constant_share(0.1, 0.1, alpha=0.5, generation=10).total.round(4)
np.float64(0.1999)

On the command line: ``python -m icl_stl.bounds --help``. Statements and proofs, numbered as the
docstrings cite them: ``paper_checks/THEORY.md`` in the repository.

=====================  ============================================================================
``drift``              distance of generation i's law from the real law
``stability``          influence of one real example, recursive stability, phase condition
``generalization``     risk minus empirical risk of generation i, by parts; excess risk
``convergence``        bounds for every generation, rates in n, time scales in i
``optimum``            synthetic-to-real ratio of least bound, certified
``transformers``       stability of in-context learners from norms of weights; the context loop
``paper_forms``        shapes of the paper's own bounds, constants assumed
=====================  ============================================================================
"""

from icl_stl.bounds import paper_forms as paper_forms
from icl_stl.bounds._check import Constant as Constant
from icl_stl.bounds.convergence import (
    Exponents as Exponents,
)
from icl_stl.bounds.convergence import (
    TimeScales as TimeScales,
)
from icl_stl.bounds.convergence import (
    convergence_exponents as convergence_exponents,
)
from icl_stl.bounds.convergence import (
    necessary_share as necessary_share,
)
from icl_stl.bounds.convergence import (
    time_scales as time_scales,
)
from icl_stl.bounds.convergence import (
    uniform_gap as uniform_gap,
)
from icl_stl.bounds.drift import (
    Drift as Drift,
)
from icl_stl.bounds.drift import (
    accumulate_weights as accumulate_weights,
)
from icl_stl.bounds.drift import (
    anchored_weights as anchored_weights,
)
from icl_stl.bounds.drift import (
    drift_accumulate as drift_accumulate,
)
from icl_stl.bounds.drift import (
    drift_accumulate_constant as drift_accumulate_constant,
)
from icl_stl.bounds.drift import (
    drift_accumulate_growing as drift_accumulate_growing,
)
from icl_stl.bounds.drift import (
    drift_anchored as drift_anchored,
)
from icl_stl.bounds.drift import (
    drift_constant_share as drift_constant_share,
)
from icl_stl.bounds.drift import (
    drift_convex_square as drift_convex_square,
)
from icl_stl.bounds.drift import (
    drift_kl as drift_kl,
)
from icl_stl.bounds.drift import (
    drift_recursion as drift_recursion,
)
from icl_stl.bounds.drift import (
    drift_replace as drift_replace,
)
from icl_stl.bounds.drift import (
    drift_root_share as drift_root_share,
)
from icl_stl.bounds.drift import (
    drift_varying_share as drift_varying_share,
)
from icl_stl.bounds.drift import (
    kl_eta_bound as kl_eta_bound,
)
from icl_stl.bounds.drift import (
    total_variation_from_kl as total_variation_from_kl,
)
from icl_stl.bounds.drift import (
    varying_share_weights as varying_share_weights,
)
from icl_stl.bounds.generalization import (
    CoupledGap as CoupledGap,
)
from icl_stl.bounds.generalization import (
    Gap as Gap,
)
from icl_stl.bounds.generalization import (
    StableAlgorithmGap as StableAlgorithmGap,
)
from icl_stl.bounds.generalization import (
    UniformGap as UniformGap,
)
from icl_stl.bounds.generalization import (
    bousquet_elisseeff as bousquet_elisseeff,
)
from icl_stl.bounds.generalization import (
    bousquet_klochkov_zhivotovskiy as bousquet_klochkov_zhivotovskiy,
)
from icl_stl.bounds.generalization import (
    coupled_gap as coupled_gap,
)
from icl_stl.bounds.generalization import (
    delta_for_every_generation as delta_for_every_generation,
)
from icl_stl.bounds.generalization import (
    discrepancy_at_rate as discrepancy_at_rate,
)
from icl_stl.bounds.generalization import (
    excess_risk as excess_risk,
)
from icl_stl.bounds.generalization import (
    excess_risk_at_rate as excess_risk_at_rate,
)
from icl_stl.bounds.generalization import (
    expected_gap as expected_gap,
)
from icl_stl.bounds.generalization import (
    generalization_gap as generalization_gap,
)
from icl_stl.bounds.generalization import (
    generalization_gap_at_rate as generalization_gap_at_rate,
)
from icl_stl.bounds.generalization import (
    log_cover_ball as log_cover_ball,
)
from icl_stl.bounds.generalization import (
    uniform_convergence_gap as uniform_convergence_gap,
)
from icl_stl.bounds.generalization import (
    weighted_gap as weighted_gap,
)
from icl_stl.bounds.optimum import (
    OptimalSize as OptimalSize,
)
from icl_stl.bounds.optimum import (
    closed_form_size as closed_form_size,
)
from icl_stl.bounds.optimum import (
    optimal_size as optimal_size,
)
from icl_stl.bounds.optimum import (
    proved_directions as proved_directions,
)
from icl_stl.bounds.stability import (
    Stability as Stability,
)
from icl_stl.bounds.stability import (
    accumulate_influence as accumulate_influence,
)
from icl_stl.bounds.stability import (
    best_fresh_weight as best_fresh_weight,
)
from icl_stl.bounds.stability import (
    fresh_data_stability as fresh_data_stability,
)
from icl_stl.bounds.stability import (
    influence_from_stability as influence_from_stability,
)
from icl_stl.bounds.stability import (
    parameter_stability as parameter_stability,
)
from icl_stl.bounds.stability import (
    phase_threshold as phase_threshold,
)
from icl_stl.bounds.stability import (
    recursive_stability as recursive_stability,
)
from icl_stl.bounds.stability import (
    synthetic_influence as synthetic_influence,
)
from icl_stl.bounds.stability import (
    uniform_recursive_stability as uniform_recursive_stability,
)
from icl_stl.bounds.stability import (
    varying_share_influence as varying_share_influence,
)
from icl_stl.bounds.stability import (
    weighted_stability as weighted_stability,
)
from icl_stl.bounds.transformers import (
    ACTIVATION_SLOPES as ACTIVATION_SLOPES,
)
from icl_stl.bounds.transformers import (
    Certificate as Certificate,
)
from icl_stl.bounds.transformers import (
    ContextLoop as ContextLoop,
)
from icl_stl.bounds.transformers import (
    LinearLayer as LinearLayer,
)
from icl_stl.bounds.transformers import (
    RMSNorm as RMSNorm,
)
from icl_stl.bounds.transformers import (
    SoftmaxLayer as SoftmaxLayer,
)
from icl_stl.bounds.transformers import (
    attention_cap as attention_cap,
)
from icl_stl.bounds.transformers import (
    causal_replace_one as causal_replace_one,
)
from icl_stl.bounds.transformers import (
    causal_spread as causal_spread,
)
from icl_stl.bounds.transformers import (
    context_error as context_error,
)
from icl_stl.bounds.transformers import (
    context_loop as context_loop,
)
from icl_stl.bounds.transformers import (
    gaussian_head as gaussian_head,
)
from icl_stl.bounds.transformers import (
    linear_attention as linear_attention,
)
from icl_stl.bounds.transformers import (
    published_generic as published_generic,
)
from icl_stl.bounds.transformers import (
    replace_one as replace_one,
)
from icl_stl.bounds.transformers import (
    replace_one_path as replace_one_path,
)

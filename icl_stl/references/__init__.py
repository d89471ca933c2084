"""Exact laws of loops that can be solved: what a measurement must agree with, in NumPy alone.

Sizes and constants go in, an array over generations 0..G comes out (some limits are scalars, some
results named tuples of arrays). n = ``samples`` real rows, ``n_syn`` synthetic rows a generation;
generation 0 is fitted on the n real rows.

>>> mean_augment(samples=100, n_syn=100, noise=1.0, generations=2).round(6)
array([0.01    , 0.0125  , 0.013125])

Statements and proofs: sections 8 to 11, 15 and from 18 on, ``paper_checks/THEORY.md``.

================================  =====================================================  =========
loop                              function                                               statement
================================  =====================================================  =========
Gaussian mean, any weights        ``mean_loop``                                          37
... last batch, all batches       ``mean_replace``, ``mean_accumulate``                  37
... beside a fixed real set       ``mean_augment``, ``mean_augment_limit``,              37
                                  ``mean_anchored``
... with new real rows            ``mean_fresh``, ``mean_fresh_limit``,                  38
                                  ``mean_fresh_best``
... all rows kept, n drawn        ``mean_accumulate_subsample``                          39
... its gap, by parts             ``mean_gap_parts``                                     40
... the same, new real rows       ``mean_fresh_gap_parts``                               78
total variation, quantiles        ``mean_total_variation``,                              41
                                  ``mean_linear_gap_quantile``, ``ols_total_variation``
Gaussian mean and variance        ``mean_variance_augment``, ``mean_variance_replace``,  42
                                  ``mean_variance_augment_limit``,
                                  ``log_variance_replace``
least squares                     ``ols_single_fit``, ``ols_replace``,                   43
                                  ``ols_accumulate_fresh_inputs``
... inputs repeated               ``ols_loop_same_inputs``,                              43
                                  ``ols_augment_same_inputs``,
                                  ``ols_accumulate_same_inputs``
... its gap                       ``ols_gap_single_fit``,                                43
                                  ``ols_gap_augment_same_inputs``
... beside a fixed real set       ``ols_augment_fresh_inputs``,                          44
                                  ``ols_augment_upper_bound``
... with new real rows            ``ols_fresh_real``, ``ols_fresh_real_limit``,          45
                                  ``ols_fresh_combined``,
                                  ``ols_fresh_combined_limit``,
                                  ``ols_fresh_combined_best``
... of minimum norm               ``ols_min_norm_replace``, ``ols_min_norm_fresh``,      103
                                  ``ols_min_norm_same_inputs``
law on K symbols                  ``law_loop``, ``law_replace``, ``law_augment``,        46
                                  ``law_augment_bound``, ``law_accumulate``,
                                  ``law_anchored``, ``law_total_variation``,
                                  ``law_fixation``
... with additive smoothing       ``smoothed_replace``, ``smoothed_augment``,            46
                                  ``smoothed_accumulate``
... new real rows                 ``law_fresh``, ``law_fresh_limit``,                    99
                                  ``law_augment_limit``
... what is lost for good         ``absorption_factor``, ``symbol_survival``,            100
                                  ``poisson_survival``
... how many symbols are left     ``law_symbols``                                        102
any mixing of real and generated  ``law_affine``, ``mean_variance_mixed``                98
deviation that dies out           ``deviation_tail``                                     101
errors that add up                ``one_sided_loop``, ``one_sided_augment``,             47
                                  ``one_sided_replace``, ``one_sided_accumulate``
linear attention in its context   ``attention_context``, ``attention_context_factor``,   57
                                  ``attention_context_limit``
... with new inputs               ``attention_fresh_context``,                           58
                                  ``attention_fresh_square``,
                                  ``attention_fresh_factors``
ridge in its context              ``ridge_on_kept``, ``ridge_modes``                     59
... noise on new labels           ``ridge_context``                                      60
... without real labels           ``ols_context_walk``                                   61
... least squares, new inputs     ``ols_fresh_context``, ``ols_fresh_context_factor``    62
... its label sensitivity         ``ridge_sensitivity``                                  63
rows: mean and covariance         ``covariance_augment``, ``covariance_fresh``           95
rows of symbols: Markov chain     ``chain_augment``                                      96
rows that are real by lot         ``law_hidden``, ``mean_hidden``                        104
... estimators of all stages      ``sources_error``                                      106
real rows added, all rows kept    ``mean_kept``                                          108
shares and batches that change    ``law_varying``, ``mean_varying``                      109
labels edited: least squares      ``ols_edit_additive``                                  110
... by predictions                ``ols_edit_replace``, ``ols_edit_replace_bounds``,     111
                                  ``ols_edit_given``
symbols edited, by lot            ``law_edit``                                           112
... the surest                    ``law_edit_sure``                                      113
... of a long text, one round     ``chain_edit``                                         114
sampling bias: mean and variance  ``mean_variance_biased``,                              116
                                  ``mean_variance_biased_limit``
... squared distance W2           ``biased_distance``, ``biased_distance_limit``,        117
                                  ``one_fit_distance``
... how many rows help            ``admissible_synthetic``                               118
... symbols, without error        ``law_powered``                                        119
rows a verifier keeps: a region   ``ols_region``, ``region_factor``                      123
... variance gained, bias         ``region_path``, ``mean_region``                       124
... an oracle with errors         ``oracle_wrong``, ``oracle_fit``                       125
... the model's surest symbols    ``law_surest``                                         126
... its surest numbers            ``mean_variance_surest``, ``surest_moment``,           127
                                  ``variance_surest``                                    128
... those in a part of the law    ``law_part``                                           129
... the surest prompts            ``task_variance_surest``                               156
curated symbols, without error    ``curated_law``                                        130
... their limit                   ``curation_fixed_point``                               131
... of finitely many rows         ``curated_law_loop``, ``curated_states``               133
... a mean, finitely many rows    ``curated_step``, ``curated_mean``                     134
... a normal law, without error   ``curated_normal``                                     135
rows of another model: mean       ``mean_foreign``                                       142
... least squares                 ``ols_foreign``                                        143
... or the own generations        ``foreign_crossover``                                  144
... when they help                ``foreign_helps``                                      145
largest row, all rows kept        ``maximum_kept``, ``maximum_once``                     146
smoothed resampling: mean law     ``resampled_mixture``                                  136
... its mean and variance         ``resampled_mean_variance``                            137
... their limits                  ``resampled_distance``, ``resampled_limit``            138
... Hermite modes                 ``hermite_mode``                                       139
================================  =====================================================  =========

The arguments of the room; a docstring names those that are its own. What is no number, outside its
range or of a shape that does not fit is a ValueError that names the argument, its value and what
would be right. Shares are >= 0 and strictly lower triangular; a row sums to at most 1, and the rest
is on the real set.

=================  ============================================================  ===================
``sizes``          rows of the generations, each counted by itself               whole, >= 1
``alphas``         real shares of generations 1..G, [G]                          [0, 1]
``samples``        n, rows of the real set; or new ones a generation             whole, >= 1
``n_syn``          m, synthetic rows a generation                                whole, >= 1
``noise``          sigma, deviation of real and of generated rows or labels      > 0
``generations``    G, the last generation                                        whole, >= 0
``weight``         w of the real rows in fit and gap; else n/(n + n_syn)         [0, 1]
``alpha``          real share, or weight of real rows, from generation 1 on      [0, 1]
``weights``        W, weight of j's batch in what i learns from, [G+1, G+1]      shares
``dim``            d, dimension of the inputs                                    whole, >= 1
``law``            p, the real law, [K], with sum 1; h = 1 - |p|^2               >= 0
``pseudo_count``   a, added to every count                                       >= 0
``error``          e, one-step error in total variation, certain and known       [0, 1]
``task``           w, [..., d]                                                   real
``signal``         E |w|^2 of the real task w                                    >= 0
``gamma``          Gamma, [..., d, d]; in a context also c for Gamma = c I       real
``other``          Gamma' of another layer, [d, d]                               real
``gain``           c in Gamma = c I                                              > 0
``kept_xs``        inputs of the kept examples, [..., k, d], k >= 0              real
``kept_ys``        their real labels, [..., k]                                   real
``xs``             inputs of the relabelled ones, [..., r, d], m = k + r >= 1    real
``ys``             their labels in generation 0, [..., r]                        real
``kept``           k, real examples of a generation                              whole, >= 0
``relabelled``     r, examples that the generation before labels                 whole, >= 1
``relabel_noise``  s, deviation of the noise on new labels                       >= 0
``penalty``        lam; with 0 the inputs (kept ones) must span the space        >= 0
``context``        k, labelled examples of a prompt                              whole, >= 1
``inputs``         X of a prompt, [..., m, d]                                    real
``tau``            deviation of a coordinate of the task                         > 0
``prior_scale``    tau, the same                                                 > 0
``sigma``          deviation of the noise on real labels                         >= 0
``signal``         u = d tau^2/sigma^2 of the real law (u_0); c = 1/u            > 0
``repeats``        n, visits of each direction                                   whole, >= 1, or inf
``edits``          k_1..k_G, labels or symbols edited in each generation         whole, 0..n
``threshold``      least share of a symbol that is edited                        (1/2, 1]
``reward``         r of every symbol; b_1, b_2 of numbers                             real
``plug_in``        labels have the deviation sigma; else the predictive one      True, False
``bias``           s, variance of generated rows over that of the fit            (0, 1]
``distance``       c, of another model from the truth                            >= 0
``bandwidth``      h, deviation of the noise on resampled rows, unit of the data >= 0
=================  ============================================================  ===================
"""

from icl_stl.references.absorption import *
from icl_stl.references.biased import *
from icl_stl.references.context import *
from icl_stl.references.curated import *
from icl_stl.references.discrete import *
from icl_stl.references.editing import *
from icl_stl.references.foreign import *
from icl_stl.references.gaussian import *
from icl_stl.references.maximum import *
from icl_stl.references.moments import *
from icl_stl.references.regression import *
from icl_stl.references.resampling import *
from icl_stl.references.sources import *
from icl_stl.references.tables import *
from icl_stl.references.verified import *

# fmt: off
__all__ = [
    "MOST_STATES", "STEEPEST", "Admissible", "BestWeight", "Between", "ChainPath", "ContextPath",
    "CovariancePath", "CuratedMean", "EditBounds", "FixedPoint", "FreshFactors", "FreshPath",
    "GapParts", "LawPath", "MeanVariance", "Mixing", "OracleFit", "SquaredW2", "absorption_factor",
    "admissible_synthetic", "attention_context", "attention_context_factor",
    "attention_context_limit", "attention_fresh_context", "attention_fresh_factors",
    "attention_fresh_square", "biased_distance", "biased_distance_limit", "chain_augment",
    "chain_edit", "covariance_augment", "covariance_fresh", "curated_law", "curated_law_loop",
    "curated_mean", "curated_normal", "curated_states", "curated_step", "curation_fixed_point",
    "deviation_tail", "foreign_crossover", "foreign_helps", "hermite_mode", "law_accumulate",
    "law_affine", "law_anchored", "law_augment", "law_augment_bound", "law_augment_limit",
    "law_edit", "law_edit_sure", "law_fixation", "law_fresh", "law_fresh_limit", "law_hidden",
    "law_loop", "law_part", "law_powered", "law_replace", "law_surest", "law_symbols",
    "law_total_variation", "law_varying", "log_variance_replace", "maximum_kept", "maximum_once",
    "mean_accumulate", "mean_accumulate_subsample", "mean_anchored", "mean_augment",
    "mean_augment_limit", "mean_foreign", "mean_fresh", "mean_fresh_best", "mean_fresh_gap_parts",
    "mean_fresh_limit", "mean_gap_parts", "mean_hidden", "mean_kept", "mean_linear_gap_quantile",
    "mean_loop", "mean_region", "mean_replace", "mean_total_variation", "mean_variance_augment",
    "mean_variance_augment_limit", "mean_variance_biased", "mean_variance_biased_limit",
    "mean_variance_mixed", "mean_variance_replace", "mean_variance_surest", "mean_varying",
    "ols_accumulate_fresh_inputs", "ols_accumulate_same_inputs", "ols_augment_fresh_inputs",
    "ols_augment_same_inputs", "ols_augment_upper_bound", "ols_context_walk", "ols_edit_additive",
    "ols_edit_given", "ols_edit_replace", "ols_edit_replace_bounds", "ols_foreign",
    "ols_fresh_combined", "ols_fresh_combined_best", "ols_fresh_combined_limit",
    "ols_fresh_context", "ols_fresh_context_factor", "ols_fresh_real", "ols_fresh_real_limit",
    "ols_gap_augment_same_inputs", "ols_gap_single_fit", "ols_loop_same_inputs",
    "ols_min_norm_fresh", "ols_min_norm_replace", "ols_min_norm_same_inputs", "ols_region",
    "ols_replace", "ols_single_fit", "ols_total_variation", "one_fit_distance",
    "one_sided_accumulate", "one_sided_augment", "one_sided_loop", "one_sided_replace",
    "oracle_fit", "oracle_wrong", "poisson_survival", "region_factor", "region_path",
    "resampled_distance", "resampled_limit", "resampled_mean_variance", "resampled_mixture",
    "ridge_context", "ridge_modes", "ridge_on_kept", "ridge_sensitivity", "smoothed_accumulate",
    "smoothed_augment", "smoothed_replace", "sources_error", "surest_moment", "symbol_survival",
    "task_variance_surest", "variance_surest",
]
# fmt: on

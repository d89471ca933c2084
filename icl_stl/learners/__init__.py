"""Learners: a learner is a pair of pure functions, `fit` and `generate`.

`fit` is the learning algorithm A (data -> θ), `generate` the generative model it returns (θ -> data
from D_θ). In-context learners also `predict`; learners of labels also `relabel` given inputs.
Everything is written for one seed. Needs no JAX until a learner is used.

================  ==================================================================
``in_context``    networks trained by Muon or NAdam, the exact Bayes predictor
``laws``          laws of single numbers: Bernoulli, Gaussian, categorical, smoothed rows
``regression``    least squares, ridge
``attention``     linear self-attention fitted by ridge in closed form
``sources``       estimators of a law on symbols from rows of hidden sources
``orthogonal``    empirical Bayes and free shrinkage where inputs visit each direction in turn
``generative``    laws of rows of a table: one file a member, with options (`GENERATIVE`)
``stopping``      early stopping of what is trained by gradients
================  ==================================================================
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from icl_stl.learners.generative import GENERATIVE, Generative

if TYPE_CHECKING:
    from icl_stl.learners.attention import linear_attention
    from icl_stl.learners.in_context import (
        Fitted,
        adam_transformer,
        bayes_learner,
        fit_query_model,
        in_context_model,
        query_batches,
        query_trainer,
    )
    from icl_stl.learners.laws import (
        bernoulli,
        categorical,
        gaussian,
        gaussian_mean,
        kde,
        maximal_coupling,
        maximum,
    )
    from icl_stl.learners.learner import Data, Learner, foreign, tempered
    from icl_stl.learners.orthogonal import empirical_bayes, shrinkage
    from icl_stl.learners.regression import ols, ridge
    from icl_stl.learners.sources import hidden_sources
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        rooms = (
            "learner",
            "laws",
            "sources",
            "regression",
            "attention",
            "orthogonal",
            "in_context",
        )
        for room in rooms:
            found = vars(import_module(f"{__name__}.{room}"))
            globals().update({one: found[one] for one in __all__ if one in found})
        return globals()[name]


# fmt: off
__all__ = [
    "GENERATIVE", "Data", "Fitted", "Generative", "Learner", "adam_transformer", "bayes_learner",
    "bernoulli", "categorical", "empirical_bayes", "fit_query_model", "foreign", "gaussian",
    "gaussian_mean", "hidden_sources", "in_context_model", "kde", "linear_attention",
    "maximal_coupling", "maximum", "ols", "query_batches", "query_trainer", "ridge", "shrinkage",
    "tempered",
]

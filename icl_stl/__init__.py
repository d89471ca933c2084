"""Self-consuming training loops of in-context learners, run and measured against their theory.

One learner, a pair of pure functions `fit` and `generate`, is trained generation after
generation on its own prompts mixed with a constant-size real set; `measure` says how far each
generation has drifted from the real law, `bounds` what the theory allows, `claims` compares both.

Words and symbols (the paper: Fu, Wang, Chen, Tian and Tao, ICLR 2025, arXiv 2502.18865):

=====================  ==================  =====================================================
in code                symbol              meaning
=====================  ==================  =====================================================
``generation``         i                   0 is fitted on the real set alone
``samples``            n                   prompts in the real set S_0
``n_syn``              λ n                 synthetic prompts made for one generation
``alpha``              α = n/(n + n_syn)   share of real prompts in the training set
``lam``                λ = n_syn/n         synthetic per real prompt, α = 1/(1 + λ)
``context``            m                   in-context examples in a prompt (and only that)
``dim``                d                   dimension of an input x
``noise``              σ                   standard deviation of the label noise
``prior_scale``        τ                   standard deviation of a coordinate of the task w
real law               D_0                 the law of a real prompt
generator              D_θ                 the law of a prompt generated from parameters θ
mixture                M_{i-1}             the law generation i is trained on
``drift``              T_i                 distance between D_θ_i and D_0
``eps``                ε_i                 one-step error, distance between D_θ_i and M_{i-1}
``gamma``, ``beta``    γ, β                recursive stability, uniform stability
``kappa``              κ                   how strongly a generator follows its training law
=====================  ==================  =====================================================

This file imports nothing heavy: ``icl_stl.bounds`` works with NumPy alone.
"""

__version__ = "0.1.0"

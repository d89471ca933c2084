"""Three normal laws, by scikit-learn: `icl-stl loop --real wine --learner mixture.py:Mixture`."""

from sklearn.mixture import GaussianMixture


class Mixture(GaussianMixture):
    """A Gaussian mixture; `fit`, `sample` and `score_samples` are scikit-learn's."""

    def __init__(self) -> None:
        super().__init__(n_components=3, reg_covar=1e-3)

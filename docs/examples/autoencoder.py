"""A tiny autoencoder of PyTorch: `icl-stl loop --real wine --learner autoencoder.py:Autoencoder`.

What it writes are decoded codes, drawn from a normal law of the codes of its rows, plus the error
that decoding leaves.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass
class Autoencoder:
    """Fields are options: `--codes 2 --steps 500`."""

    codes: int = 4
    """Numbers in a code."""
    steps: int = 300
    """Steps of Adam."""

    def fit(self, rows: Any, weights: Any = None) -> None:
        """Rows as NumPy's float64 `[N, columns]`, their weights, summing to 1."""
        self.mean, self.std = rows.mean(axis=0), rows.std(axis=0) + 1e-9
        x = torch.tensor((rows - self.mean) / self.std, dtype=torch.float32)
        share = np.full(len(x), 1 / len(x)) if weights is None else weights
        share = torch.tensor(share, dtype=torch.float32)
        size = x.shape[1]
        encoder = nn.Sequential(nn.Linear(size, 32), nn.Tanh(), nn.Linear(32, self.codes))
        self.decoder = nn.Sequential(nn.Linear(self.codes, 32), nn.Tanh(), nn.Linear(32, size))
        parameters = [*encoder.parameters(), *self.decoder.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=1e-2)
        for _ in range(self.steps):
            optimiser.zero_grad()
            loss = share @ ((self.decoder(encoder(x)) - x) ** 2).sum(dim=1)
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            code = encoder(x)
            self.error = (self.decoder(code) - x).std(dim=0)
            self.centre, self.spread = code.mean(dim=0), torch.cov(code.T).reshape(self.codes, -1)

    def sample(self, count: int, seed: int) -> Any:
        """So many new rows."""
        torch.manual_seed(seed)
        root = torch.linalg.cholesky(self.spread + 1e-6 * torch.eye(self.codes))
        with torch.no_grad():
            code = self.centre + torch.randn(count, self.codes) @ root.T
            z = self.decoder(code)
            z = z + self.error * torch.randn_like(z)
        return z.numpy() * self.std + self.mean

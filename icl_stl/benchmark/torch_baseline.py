"""The usual model of the field in plain PyTorch, to compare speed and quality with.

A GPT-2-like transformer that reads a prompt as 2m interleaved tokens x_1, y_1, ..., x_m, y_m, each
zero padded to d + 1 numbers, and answers at the tokens of inputs (Garg et al. 2022): learned
positions, layer norms before attention and MLP, GELU, biases everywhere, no dropout. Its head is
Gaussian with the noise floor of `models.Transformer`, so that both minimise the same quantity.
Trained by AdamW in a Python loop over stored prompts. Needs the extra `benchmark`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from icl_stl.benchmark.race import Measures, Size, draw_prompts, peak_memory
from icl_stl.config import Architecture
from icl_stl.laws import LinearRegression

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    """h <- h + Attention(norm(h)), then h <- h + MLP(norm(h))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """All positions at once, each attending to itself and those before it."""
        n, t, p = h.shape
        q, k, v = (
            a.view(n, t, self.heads, -1).transpose(1, 2)
            for a in self.project(self.attention_norm(h)).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(mixed.transpose(1, 2).reshape(n, t, p))
        up: Tensor = self.up(self.mlp_norm(h))
        hidden: Tensor = self.down(functional.gelu(up, approximate="tanh"))
        return h + hidden


class InterleavedTransformer(nn.Module):
    """The law of y_k given x_{1:k} and y_{<k}: mean, and std² = σ² + v softplus(u) ≥ σ².

    Labels enter and leave in units of their marginal standard deviation √v. Initialised as GPT-2:
    kernels and positions N(0, 0.02²), the last map of a residual branch scaled by 1/√(2 depth).
    """

    def __init__(self, task: LinearRegression, architecture: Architecture):
        super().__init__()
        self.task = task
        p = architecture.width
        self.embed = nn.Linear(task.dim + 1, p)
        self.position = nn.Parameter(torch.zeros(2 * task.context, p))
        self.blocks = nn.ModuleList(Block(p, architecture.heads) for _ in range(architecture.depth))
        self.final_norm, self.head = nn.LayerNorm(p), nn.Linear(p, 2)
        nn.init.normal_(self.position, std=0.02)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and name != "position":
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(
                    parameter, std=0.02 * ((2 * architecture.depth) ** -0.5 if last else 1)
                )
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, xs: Tensor, ys: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs `[n, m, d]`, labels `[n, m]` -> means and deviations of the labels, `[n, m]`."""
        n, m, d = xs.shape
        v = self.task.label_variance
        labels = (ys * v**-0.5)[..., None]
        pairs = torch.stack([functional.pad(xs, (0, 1)), functional.pad(labels, (d, 0))], dim=2)
        h = self.embed(pairs.view(n, 2 * m, d + 1)) + self.position[: 2 * m]
        for block in self.blocks:
            h = block(h)
        mean, raw = self.head(self.final_norm(h[:, ::2])).unbind(-1)
        return v**0.5 * mean, (self.task.noise**2 + v * functional.softplus(raw)).sqrt()


def negative_log_likelihood(model: Any, xs: Tensor, ys: Tensor) -> Tensor:
    """Mean over prompts and labels of -ln p(y_k | x_{1:k}, y_{<k}), nats."""
    mean, std = model(xs, ys)
    return (0.5 * ((ys - mean) / std) ** 2 + std.log() + 0.5 * np.log(2 * np.pi)).mean()


@dataclass(frozen=True)
class Trained:
    """A training under way."""

    model: InterleavedTransformer
    optimiser: torch.optim.Optimizer
    loss: Callable[..., Tensor]
    """Of the model on a batch; compiled where that is asked for."""


def start(size: Size, *, compiled: bool, seed: int = 0, learning_rate: float = 1e-3) -> Trained:
    """A model and its AdamW: plain, or `torch.compile` of the loss and a fused optimiser."""
    torch.manual_seed(seed)
    model = InterleavedTransformer(size.task, size.architecture).to(DEVICE)
    options: dict[str, Any] = {"fused": True} if compiled else {}
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, **options)
    loss = torch.compile(negative_log_likelihood) if compiled else negative_log_likelihood
    return Trained(model, optimiser, loss)


def _tensors(arrays: tuple[NDArray[np.float32], ...]) -> list[Tensor]:
    return [torch.from_numpy(a).to(DEVICE) for a in arrays]


def batches(count: int, batch: int, steps: int) -> Iterator[Tensor]:
    """Rows of the stored prompts: epoch after epoch in a new order."""
    while True:
        for rows in torch.randperm(count, device=DEVICE).split(batch):
            if len(rows) == batch or batch > count:
                if not steps:
                    return
                steps -= 1
                yield rows


def train(
    training: Trained,
    xs: Tensor,
    ys: Tensor,
    batch: int,
    steps: int,
    after: Callable[[], None] = lambda: None,
) -> float:
    """Steps of the usual loop, with the loss read in every step; the last loss."""
    last = np.nan
    for rows in batches(len(xs), batch, steps):
        training.optimiser.zero_grad(set_to_none=True)
        loss = training.loss(training.model, xs[rows], ys[rows])
        loss.backward()
        training.optimiser.step()
        after()
        last = loss.item()
    return last


# --- contestants: see `benchmarks.Contestant` ----------------------------------------------------


def _training(size: Size, compiled: bool) -> Callable[[], int]:
    """Steps of one training that goes on from round to round."""
    state = start(size, compiled=compiled)
    xs, ys = _tensors(draw_prompts(size.task, 0, size.samples))
    batch = size.training.batch
    train(state, xs, ys, batch, 2)

    def run() -> int:
        train(state, xs, ys, batch, size.baseline_steps)
        return batch * size.baseline_steps

    return run


def _generation(size: Size, compiled: bool) -> Callable[[], int]:
    """Prompts whose labels are drawn one after the other, a forward pass for each label.

    A pass reads the prompt so far; compiled, which is for one length, a prompt of full length.
    """
    model = InterleavedTransformer(size.task, size.architecture).to(DEVICE)
    law = torch.compile(model) if compiled else model
    xs, _ = _tensors(draw_prompts(size.task, 0, size.generated))

    def generate(labels: int) -> int:
        with torch.inference_mode():
            ys = torch.zeros(xs.shape[:2], device=DEVICE)
            for k in range(labels):
                seen = xs.shape[1] if compiled else k + 1
                mean, std = law(xs[:, :seen], ys[:, :seen])
                ys[:, k] = torch.normal(mean[:, k], std[:, k])
            ys.cpu()
        return len(xs)

    generate(2)
    return lambda: generate(xs.shape[1])


def _evaluation(size: Size, compiled: bool) -> Callable[[], int]:
    """The law of every label of held-out prompts, in batches of as many as are generated."""
    model = InterleavedTransformer(size.task, size.architecture).to(DEVICE)
    law = torch.compile(model) if compiled else model
    xs, ys = _tensors(draw_prompts(size.task, 1, size.evaluated))
    pairs = list(zip(xs.split(size.generated), ys.split(size.generated), strict=True))

    def evaluate() -> int:
        with torch.inference_mode():
            parts = [law(x, y) for x, y in pairs]
            for both in zip(*parts, strict=True):
                torch.cat(both).cpu()
        return len(xs)

    evaluate()
    return evaluate


def speeds(
    size: Size, *, asks: Sequence[str], compiled: bool, threads: int | None = None
) -> Callable[..., Measures]:
    """Whatever is asked for of training, generation and evaluation."""
    if threads is not None:
        torch.set_num_threads(threads)
    prepare = {"training": _training, "generation": _generation, "evaluation": _evaluation}
    prepared = {what: (prepare[what](size, compiled), peak_memory()) for what in asks}

    def run(what: str) -> Measures:
        done, peak = prepared[what]
        begin = perf_counter()
        prompts = done()
        return {"seconds": perf_counter() - begin, "prompts": prompts, "peak": peak}

    return run


def ceiling() -> Callable[[], Measures]:
    """PyTorch's own float32 matmul rate, square matrices."""
    square = torch.ones(1024, 1024, device=DEVICE) / 1024

    def run() -> Measures:
        begin = perf_counter()
        product = square
        for _ in range(30):
            product = product @ square
        product.sum().item()
        return {"seconds": perf_counter() - begin, "operations": 30 * 2 * 1024**3}

    return run


def quality(size: Size, *, steps: int, held_out: int) -> Callable[..., Any]:
    """Laws of the labels of held-out prompts by trained models, one for each pair of learning rate
    and seed. On one thread, with warm-up over a tenth of the steps, then cosine, as on our side.
    """
    torch.set_num_threads(1)
    test = _tensors(draw_prompts(size.task, 1, held_out))
    batch, warm = size.training.batch, max(1, steps // 10)

    def scale(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + cos(pi * (step - warm) / max(1, steps - warm)))

    def laws(learning_rate: float, seed: int) -> Any:
        xs, ys = _tensors(draw_prompts(size.task, 2 + seed, batch * steps))
        state = start(size, compiled=False, seed=seed, learning_rate=learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(state.optimiser, scale)
        train(state, xs, ys, batch, steps, schedule.step)
        with torch.inference_mode():
            return tuple(a.cpu().numpy() for a in state.model(*test))

    return lambda jobs: [laws(*job) for job in jobs]

"""What a head is punished for, by what it says; torch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from slosched.predictors.calibration import LEVELS
from slosched.training.options import TrainOptions

if TYPE_CHECKING:
    from torch import Tensor

# Of outputs (n, k), tokens to come (n,), and whether there would have been more (n,).
Loss = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]


def loss(options: TrainOptions) -> Loss:
    """Return the loss of a head: of its outputs, and of the tokens that were to come.

    Answers that were cut off count as they are, but under `ordinal`, which learns from them that
    they reached their length, and nothing of where they would have ended.
    """
    match options.head:
        case "regression":
            return _regression(options)
        case "quantile":
            return _pinball
        case "classes":
            return _cross_entropy(options.cuts)
        case "ordinal":
            return _ordinal(options.cuts)
        case "ranking":
            return _list_mle(options.bucket)


def outputs(options: TrainOptions) -> int:
    """How many numbers a head says."""
    match options.head:
        case "quantile":
            return len(LEVELS)
        case "classes":
            return len(options.cuts) + 1
        case "ordinal":
            return len(options.cuts)
        case _:
            return 1


def _regression(options: TrainOptions) -> Loss:
    distance = F.l1_loss if options.loss == "l1" else F.mse_loss

    def measured(said: "Tensor", left: "Tensor", _: "Tensor") -> "Tensor":
        # In hundreds of tokens, or else the first steps would be all too long.
        truth = torch.log1p(left) if options.scale == "log" else left / 100
        return distance(said[:, 0], truth)

    return measured


def _pinball(said: "Tensor", left: "Tensor", _: "Tensor") -> "Tensor":
    """Koenker and Bassett (1978): each level has its share of the truth below it."""
    levels = torch.as_tensor(LEVELS, dtype=said.dtype, device=said.device)
    short = torch.log1p(left)[:, None] - said
    return torch.maximum(levels * short, (levels - 1) * short).mean()


def _cross_entropy(cuts: tuple[int, ...]) -> Loss:
    def measured(said: "Tensor", left: "Tensor", _: "Tensor") -> "Tensor":
        return F.cross_entropy(said, _class(left, cuts))

    return measured


def _ordinal(cuts: tuple[int, ...]) -> Loss:
    """Frank and Hall (2001): for each cut, whether the length is beyond it."""

    def measured(said: "Tensor", left: "Tensor", cut_off: "Tensor") -> "Tensor":
        beyond = _class(left, cuts)[:, None] > torch.arange(len(cuts), device=said.device)
        known = (beyond | ~cut_off[:, None]).to(said.dtype)
        return F.binary_cross_entropy_with_logits(said, beyond.to(said.dtype), known)

    return measured


def _class(left: "Tensor", cuts: tuple[int, ...]) -> "Tensor":
    edges = torch.as_tensor(cuts, dtype=left.dtype, device=left.device)
    return torch.bucketize(left, edges, right=True)


def _list_mle(bucket: int) -> Loss:
    """Xia et al. (2008), as arXiv 2408.15792 has it: the likelihood of the batch's true order.

    Lengths of the same bucket are as good as equal; their order is that of the batch, which is a
    random one.
    """

    def measured(said: "Tensor", left: "Tensor", _: "Tensor") -> "Tensor":
        order = torch.argsort(
            torch.div(left, bucket, rounding_mode="floor"), descending=True, stable=True
        )
        scores = said[order, 0]
        of_the_rest = torch.logcumsumexp(scores.flip(0), dim=0).flip(0)
        return (of_the_rest - scores).mean()

    return measured

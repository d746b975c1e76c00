"""Trains an encoder itself, with a linear head on top: all of it, or an adapter beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slosched.core.types import IntArray
from slosched.predictors.model import joint, numbers
from slosched.training.cuts import Cuts
from slosched.training.losses import loss
from slosched.training.net import HeadNet
from slosched.training.options import TrainOptions

_WARM_UP = 0.1  # of all steps, in which the learning rate rises; then it falls to 0
_LONGEST_GRADIENT = 1.0


def fine_tune(
    model: str,
    options: TrainOptions,
    cuts: Cuts,
    folder: Path,
    *,
    device: str,
    told: Callable[[], None],
) -> None:
    """Train an encoder, and write a folder: the encoder's, or that of an adapter for it.

    Parameters
    ----------
    model
        Hub name or folder; of what transformers can load.
    cuts
        What it learns from: prompts and answers are read as one text.

    Raises
    ------
    ModelError
        If the encoder cannot be loaded.
    """
    from slosched.predictors.torch_network import load_tokenizer, open_torch

    torch.manual_seed(options.seed)
    tokens, network = open_torch(model, options.max_tokens, device)
    ids = tokens.ids([joint(one) for one in cuts.said])
    features = numbers(cuts.input_tokens, cuts.produced)
    head = HeadNet(
        replace(options, hidden=(), dropout=0.0),
        np.concatenate((np.zeros(network.dimension), features.mean(axis=0))).astype(np.float32),
        np.concatenate((np.ones(network.dimension), features.std(axis=0) + 1e-3)).astype(
            np.float32
        ),
    ).to(device)
    module = _adapted(network.module, options) if options.adapter_rank else network.module
    steps = _Steps(options, module, head, len(ids))
    measured = loss(options)
    for batch in steps.batches([len(one) for one in ids]):
        table, mask = tokens.padded([ids[i] for i in batch])
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            pooled = _pooled(module, table, mask, options, device).float()
        known = torch.from_numpy(features[batch]).to(device)
        left = torch.from_numpy(cuts.left[batch].astype(np.float32)).to(device)
        wrong = measured(head(torch.cat((pooled, known), dim=1)), left)
        steps.take(wrong)
        told()
    module.eval().save_pretrained(folder)
    if not options.adapter_rank:
        load_tokenizer(model).save_pretrained(folder)


def _adapted(module: Any, options: TrainOptions) -> Any:
    """Freeze an encoder, but for an adapter to each of its linear layers."""
    from peft import LoraConfig, get_peft_model

    rank = options.adapter_rank
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.1, target_modules="all-linear")
    return get_peft_model(module, config)


def steps_of(options: TrainOptions, n: int) -> int:
    """How many steps there will be for so many texts."""
    return options.tune_epochs * -(-n // options.tune_batch)


class _Steps:
    """AdamW with a learning rate that rises, then falls in a straight line."""

    def __init__(self, options: TrainOptions, module: Any, head: HeadNet, n: int) -> None:
        module.train()
        self._options = options
        tuned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._parameters = [*tuned, *head.parameters()]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": tuned, "lr": options.tune_learning_rate},
                {"params": list(head.parameters()), "lr": options.learning_rate},
            ],
            weight_decay=options.weight_decay,
        )
        total = steps_of(options, n)
        rising = max(int(_WARM_UP * total), 1)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda step: min((step + 1) / rising, max(total - step, 0) / max(total - rising, 1)),
        )

    def batches(self, lengths: Sequence[int]) -> "list[list[int]]":
        """All batches of all epochs: texts of like length together, in random order."""
        rng = np.random.default_rng(self._options.seed)
        size, found = self._options.tune_batch, []
        for _ in range(self._options.tune_epochs):
            # Noise on the lengths, so that the same texts do not always meet.
            order = np.argsort(np.array(lengths) * rng.uniform(0.8, 1.25, len(lengths)))
            parts = [order[k : k + size].tolist() for k in range(0, len(order), size)]
            found += [parts[k] for k in rng.permutation(len(parts))]
        return found

    def take(self, wrong: torch.Tensor) -> None:
        """Go one step down."""
        self._optimizer.zero_grad()
        wrong.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, _LONGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()


def _pooled(
    module: Any,
    table: IntArray,
    mask: IntArray,
    options: TrainOptions,
    device: str,
) -> torch.Tensor:
    states = module(
        input_ids=torch.from_numpy(table).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
    ).last_hidden_state
    if options.pooling == "cls":
        first: torch.Tensor = states[:, 0]
        return first
    counted = torch.from_numpy(mask).to(device)[:, :, None]
    mean: torch.Tensor = (states * counted).sum(dim=1) / counted.sum(dim=1)
    return mean

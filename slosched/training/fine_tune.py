"""Trains an encoder itself, with a head on top: all of it, or an adapter beside it."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from slosched.core.types import IntArray
from slosched.predictors.encoder import TextEncoder
from slosched.predictors.folder import TUNED
from slosched.predictors.model import joint, numbers
from slosched.training.cuts import Cuts
from slosched.training.losses import loss
from slosched.training.net import HeadNet, standard
from slosched.training.options import TrainOptions

_WARM_UP = 0.1  # of all steps, in which the learning rate rises; then it falls to 0
HEAD = "head.safetensors"
_LONGEST_GRADIENT = 1.0
_LAYER = re.compile(r"\.layers?\.(\d+)\.")


def fine_tune(
    model: str,
    options: TrainOptions,
    cuts: Cuts,
    folder: Path,
    *,
    device: str,
    told: Callable[[], None],
) -> None:
    """Train an encoder, and write a folder with it, or with an adapter for it, and with its head.

    Parameters
    ----------
    model
        Hub name or folder; of what transformers can load.
    cuts
        What it learns from: a prompt and an answer are read as one text.
    folder
        Gets the folder `encoder` and the file `head.safetensors`.

    Raises
    ------
    ModelError
        If the encoder cannot be loaded.
    """
    from slosched.predictors.torch_network import load_tokenizer, open_torch

    torch.manual_seed(options.seed)
    tokens, network = open_torch(model, options.max_tokens, device, layers=options.layers)
    network.module.set_attn_implementation("eager")  # quicker on texts as short as these
    ids = tokens.ids([joint(one) for one in cuts.said])
    features = numbers(cuts.input_tokens, cuts.produced)
    width = TextEncoder(tokens, network, options.pooling).dimension
    mean, scale = standard(features)
    head = HeadNet(
        options,
        np.concatenate((np.zeros(width, np.float32), mean)),
        np.concatenate((np.ones(width, np.float32), scale)),
    ).to(device)
    module = adapter_for(network.module, options) if options.adapter_rank else network.module
    steps = _Steps(options, module, head, len(ids))
    measured = loss(options)
    for batch in steps.batches([len(one) for one in ids]):
        table, mask = tokens.padded([ids[i] for i in batch])
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            pooled = _pooled(module, table, mask, options, device).float()
        known = torch.from_numpy(features[batch]).to(device)
        left = torch.from_numpy(cuts.left[batch].astype(np.float32)).to(device)
        cut_off = torch.from_numpy(cuts.cut_off[batch]).to(device)
        wrong = measured(head(torch.cat((pooled, known), dim=1)), left, cut_off)
        steps.take(wrong)
        told()
    if options.adapter_rank:
        _save_adapter(module, folder / TUNED)
    else:
        module.eval().save_pretrained(folder / TUNED)
        load_tokenizer(model).save_pretrained(folder / TUNED)
    save_file(head.head().tensors(), folder / HEAD)


def adapter_for(module: Any, options: TrainOptions) -> Any:
    """Freeze an encoder, but for an adapter to each linear layer of its last layers."""
    from peft import LoraConfig, get_peft_model

    rank, layers = options.adapter_rank, int(module.config.num_hidden_layers)
    first = max(layers - options.adapter_layers, 0)
    places = [
        name
        for name, part in module.named_modules()
        if isinstance(part, torch.nn.Linear)
        and (found := _LAYER.search(name))
        and int(found[1]) >= first
    ]
    return get_peft_model(module, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=places))


def _save_adapter(module: Any, folder: Path) -> None:
    """Write what was learned in half precision, without a card and a path that say nothing."""
    module.half().save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": None}
    path.write_text(json.dumps(config, indent=2) + "\n")


def steps_of(options: TrainOptions, n: int) -> int:
    """How many steps there will be for so many texts."""
    return options.tune_epochs * -(-n // options.tune_batch)


class _Steps:
    """AdamW with a learning rate that rises, then falls in a straight line."""

    def __init__(self, options: TrainOptions, module: Any, head: HeadNet, n: int) -> None:
        module.train(not options.adapter_rank)  # few weights need no dropout, which takes its time
        self._options = options
        tuned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._parameters = [*tuned, *head.parameters()]
        rate = options.tune_learning_rate
        self._optimizer = torch.optim.AdamW(
            [
                {"params": tuned, "lr": rate},
                {"params": list(head.parameters()), "lr": max(options.learning_rate, rate)},
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
    first: torch.Tensor = states[:, 0]
    if options.pooling == "cls":
        return first
    there = torch.from_numpy(mask).to(device)[:, :, None]
    mean: torch.Tensor = (states * there).sum(dim=1) / there.sum(dim=1)
    if options.pooling == "mean":
        return mean
    greatest = states.masked_fill(there == 0, -torch.inf).amax(dim=1)
    return torch.cat((mean, first, greatest), dim=1)

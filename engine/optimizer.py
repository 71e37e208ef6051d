"""AdamW on fp32 master weights.

Promise: a bf16 model learns at small rates, and no second copy of all gradients ever exists.
To read: `Optimizer.step`.
Held to it by tests/test_grpo.py.

In bf16 a weight of size 1 cannot change by less than 0.004, so at a learning rate of 1e-6 nearly
every update would be rounded away. The optimizer therefore updates fp32 masters, and copies them
into the bf16 model after each step. Gradients of micro-batches are added up in fp32. A hook moves
each weight's gradient to its master as soon as backward has computed it. Otherwise a second copy of
all gradients, in bf16, would take 1 GB at 0.5B parameters. An fp32 model is its own master.
"""
import math

import torch


class Optimizer:
    """AdamW with gradient clipping and a linear warm-up of the learning rate."""

    def __init__(self, model, lr, warmup_steps=0, max_grad_norm=1.0, weight_decay=0.0):
        self.params = [p for p in model.parameters() if p.requires_grad]
        self.masters = [master_of(p) for p in self.params]
        self.adam = torch.optim.AdamW(self.masters, lr=lr, betas=(0.9, 0.999),
                                      weight_decay=weight_decay, fused=True)
        self.lr = lr
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self.steps = 0
        for param, master in zip(self.params, self.masters):
            if master is param:
                continue
            if not hasattr(param, "master"):
                param.register_post_accumulate_grad_hook(add_to_master)
            param.master = master  # for add_to_master; SFT and RL have an optimizer each

    def step(self):
        """Apply and clear the gradients -> their norm before clipping. No step is taken if the norm
        is not a number."""
        norm = torch.nn.utils.clip_grad_norm_(self.masters, self.max_grad_norm).item()
        if not math.isfinite(norm):
            return self.skip()
        self.steps += 1
        warm = min(1.0, self.steps / max(1, self.warmup_steps))
        for group in self.adam.param_groups:
            group["lr"] = self.lr * warm
        self.adam.step()
        self.adam.zero_grad()
        self.copy_masters()
        return norm

    def skip(self):
        """Clear the gradients without a step -> nan, in place of their norm. Nothing can be learnt
        from a loss or gradient that is not a number."""
        for p in self.params + self.masters:
            p.grad = None
        return math.nan

    @torch.no_grad()
    def copy_masters(self):
        """Copy the masters into the model's weights."""
        for param, master in zip(self.params, self.masters):
            if master is not param:
                param.copy_(master)

    def state_dict(self):
        """{name: tensor}: the masters, AdamW's state of each, and the number of steps."""
        kept = {}
        for i, master in enumerate(self.masters):
            kept[f"master.{i}"] = master.detach()
            for name, value in self.adam.state.get(master, {}).items():
                kept[f"{name}.{i}"] = value
        kept["steps"] = torch.tensor(self.steps)
        return kept

    def load_state_dict(self, state):
        """Load what state_dict gave. Raises ValueError for a model of another shape."""
        self.load_weights(state)
        adam = {}
        for i in range(len(self.masters)):
            if f"step.{i}" in state:
                names = ("step", "exp_avg", "exp_avg_sq")
                adam[i] = {name: state[f"{name}.{i}"] for name in names}
        self.adam.load_state_dict({**self.adam.state_dict(), "state": adam})
        self.steps = int(state["steps"])

    @torch.no_grad()
    def load_weights(self, state):
        """Load only the weights. Raises ValueError for a model of another shape."""
        for i, master in enumerate(self.masters):
            if f"master.{i}" not in state or state[f"master.{i}"].shape != master.shape:
                raise ValueError("the checkpoint is of a model of another shape")
        for i, (param, master) in enumerate(zip(self.params, self.masters)):
            master.copy_(state[f"master.{i}"])
            param.copy_(master)


def master_of(param):
    """The fp32 master of a weight: itself, if it is fp32."""
    if param.dtype == torch.float32:
        return param
    return param.detach().float().requires_grad_()


def add_to_master(param):
    """Move the gradient of a bf16 weight to its master, whose gradient is a sum in fp32."""
    if param.master.grad is None:
        param.master.grad = param.grad.float()
    else:
        param.master.grad.add_(param.grad)
    param.grad = None

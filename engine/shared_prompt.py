"""An update in parts: each prompt is computed once, even if its group is cut into several parts.

Promise: the gradient does not depend on how the batch is cut. Running out of memory costs time, not
the run.
To read: `shared_prompt_parts` is what grpo.grpo_update loops over.
Held to it by tests/test_grpo.py (gradients) and tests/test_train.py (memory).

How do gradients reach a shared prompt? The prompt pass is computed once. Each part attends to
detached copies of its tensors, so that loss.backward() of a part stops at the copies. Their
gradients add up there over the parts. After the last part one backward call carries these sums
through the prompt pass. By the chain rule this is the gradient of the sum of all parts' losses.
"""
import torch
from tqdm import tqdm

from engine.layers import prompt_pass


def shared_prompt_parts(model, rollouts, prompts, micro_batch):
    """Cut some prompts' rollouts into parts of at most `micro_batch` completions.

    Yields (row indices [n], the part's Rollouts, its prompt pass). The caller computes a loss from
    each and calls its backward() before it asks for the next part.
    """
    G = rollouts.group_size
    for some in groups_of_like_length(rollouts, prompts, max(1, micro_batch // G)):
        _, whole = rollouts.select(some)
        computed = prompt_pass(model, whole.prompt_ids, whole.prompt_lengths)
        copies = [t.detach().requires_grad_() for t in computed]
        for first in range(0, G, micro_batch):
            rows, part = rollouts.select(some, first, first + micro_batch)
            yield rows, part, copies
        # A copy has no gradient if all completions have one token, because these read no keys.
        used = [(t, copy.grad) for t, copy in zip(computed, copies) if copy.grad is not None]
        torch.autograd.backward([t for t, _ in used], [gradient for _, gradient in used])


def groups_of_like_length(rollouts, prompts, most):
    """Group prompts (list of indices) whose rows have similar lengths, at most `most` in a group.

    The reason is that padding costs as much as tokens do, and that a prompt without routes is much
    shorter than one with routes.
    """
    longest = rollouts.lengths.view(-1, rollouts.group_size).max(1).values
    tokens = (rollouts.prompt_lengths + longest).tolist()  # prompt and longest completion
    groups = []
    for p in sorted(prompts, key=lambda p: (tokens[p], p)):
        if not groups or len(groups[-1]) == most or tokens[p] > 1.5 * tokens[groups[-1][0]]:
            groups.append([])
        groups[-1].append(p)
    return groups


def with_smaller_parts(config, optimizer, update):
    """Call update(micro_batch) with parts that fit into memory -> what it returns.

    When memory runs out, config.micro_batch is halved for the rest of the run, and the update is
    done again. The result is the same, because the gradient does not depend on the parts. But it
    cannot be done again once an optimizer step has been taken: then the error is raised.
    """
    steps = optimizer.steps
    while True:
        try:
            return update(config.micro_batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if config.micro_batch == 1 or optimizer.steps != steps:
                raise
        optimizer.skip()  # clears the gradients of the parts that did fit
        torch.cuda.empty_cache()
        config.micro_batch //= 2
        tqdm.write(f"out of memory: going on with --micro-batch {config.micro_batch}")


def is_out_of_memory(error):
    """Does this exception come from a lack of memory, on a GPU or a CPU?"""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    signs = ("allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED",
             "out of memory")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)

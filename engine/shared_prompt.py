"""An update in parts: each prompt is computed once, even if its group is cut into several parts.

Promise: the gradient does not depend on how the batch is cut. Running out of memory costs time, not
the run.
To read: `shared_prompt_parts` is what grpo.grpo_update loops over.
Held to it by tests/test_grpo.py (gradients) and tests/test_train.py (memory).

How gradients reach a shared prompt. The prompt pass is computed once. Each part attends to
detached copies of its tensors, so that a part's loss.backward() stops there and its gradient is
added up in the copies. After the last part one backward call carries these sums through the
prompt pass. By the chain rule this is the gradient of the sum of all parts' losses.
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
        # A copy has no gradient where all completions are of one token, which read no keys.
        used = [(t, copy.grad) for t, copy in zip(computed, copies) if copy.grad is not None]
        torch.autograd.backward([t for t, _ in used], [gradient for _, gradient in used])


def groups_of_like_length(rollouts, prompts, most):
    """Put prompts (list of indices) together whose rows are of like length, at most `most` at a
    time.

    Padding costs as much as tokens, and a prompt without routes is a fraction of one with routes.
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
    """update(micro_batch), with parts that fit into memory -> what it returns.

    When memory runs out the parts are halved, for the rest of the run (config.micro_batch), and the
    update is done again. That is sound while no optimizer step has been taken, because the gradient
    does not depend on the parts.
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
        optimizer.skip()  # forgets the part of the gradient that was gathered
        torch.cuda.empty_cache()
        config.micro_batch //= 2
        tqdm.write(f"out of memory: going on with --micro-batch {config.micro_batch}")


def is_out_of_memory(error):
    """Is this exception one of a GPU's allocator, of cuBLAS, or of a CPU's allocator?"""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    signs = ("allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED",
             "out of memory")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)

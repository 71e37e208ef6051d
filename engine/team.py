"""Several processes on one machine that share the work of an RL step.

Promise: the gradient is that of one process. The same number of processes gives the same bytes,
whether there are as many cores or only one.
To read: `Team` is what train.py uses. A helper waits in `serve`. In an update the leader and the
helpers all run grpo.grpo_update, each on its share of the prompts. Their gradients meet in
`Leader.step`.
Held to it by tests/test_team.py.

Why processes? The tiny student's tensors are so small that a second thread inside of each operation
saves nothing, and Python lets only one thread at a time prepare the next operation. Two processes
take 0.6 of the time of one, if they have a core each. On a machine with one core a helper is a
thread, which needs no time to start.

Each task carries all weights of the student, which for the tiny one are less than 1 MB.
"""
import contextlib
import multiprocessing
import pickle
import signal
import sys
import threading
import types

import torch
from torch.nn.functional import pad

from grpo import Rollouts, grpo_update, sample

CORES = torch.get_num_threads()  # OMP_NUM_THREADS, or the cores of this machine


class Team:
    """This process, the leader, and its helpers, which start at once: imports take seconds.
    threads: of each process (default: as they are)."""

    def __init__(self, processes=1, threads=None):
        if threads:
            torch.set_num_threads(threads)
        self.tokenizer = None  # the student's; known when it first samples
        self.helpers = [Helper() for _ in range(processes - 1)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End all helpers, whatever they are doing."""
        for helper in self.helpers:
            helper.end()

    def again(self):
        """After an error helpers may be in the middle of their work: put new ones in their place.
        """
        self.close()
        self.helpers = [Helper() for _ in self.helpers]

    def sample(self, model, tokenizer, prompts, group_size, max_new_tokens, temperature=1.0,
               generator=None):
        """grpo.sample, each process a share of the prompts -> Rollouts. Each helper's seed comes
        from the leader's generator."""
        self.tokenizer = tokenizer
        mine, *theirs = shares(prompts, len(self.helpers) + 1)
        busy = []
        try:
            for helper, some in zip(self.helpers, theirs):
                if some:
                    seed = torch.randint(2 ** 62, (), generator=generator).item()
                    helper.ask("sample", model, tokenizer, some, group_size, max_new_tokens,
                               temperature, seed)
                    busy.append(helper)
            parts = [sample(model, tokenizer, mine, group_size, max_new_tokens, temperature,
                            generator=generator)]
            parts += [helper.answer() for helper in busy]
        except Exception:
            self.again()
            raise
        return joined(parts, tokenizer.pad_token_id)

    def update(self, model, optimizer, rollouts, advantages, **settings):
        """grpo.grpo_update, each process a share of the live prompts -> metrics."""
        n = len(self.helpers) + 1
        try:
            for i, helper in enumerate(self.helpers, 1):
                helper.ask("update", model, self.tokenizer, rollouts, advantages,
                           {**settings, "share": (i, n)})
            leader = Leader(model, optimizer, self.helpers)
            metrics = grpo_update(model, leader, rollouts, advantages, share=(0, n), **settings)
            for helper in self.helpers:
                add_metrics(metrics, helper.answer())
        except Exception:
            self.again()
            raise
        return metrics


ALONE = Team()


def shares(items, n):
    """Cut a list into n lists of nearly equal length. The first is the longest.

    >>> shares([1, 2, 3, 4, 5], 2)
    [[1, 2, 3], [4, 5]]
    """
    ends = [-(-len(items) * i // n) for i in range(n + 1)]
    return [items[first:last] for first, last in zip(ends, ends[1:])]


def joined(parts, pad_id):
    """The Rollouts of several lists of prompts as one."""
    if len(parts) == 1:
        return parts[0]

    def stacked(name, value=0):
        """A tensor [rows, width] of each part, padded on the right to one width."""
        tensors = [getattr(part, name) for part in parts]
        width = max(t.shape[1] for t in tensors)
        return torch.cat([pad(t, (0, width - t.shape[1]), value=value) for t in tensors])

    return Rollouts(
        stacked("prompt_ids", pad_id), torch.cat([part.prompt_lengths for part in parts]),
        stacked("completion_ids", pad_id), torch.cat([part.lengths for part in parts]),
        stacked("logps"), stacked("entropy"), torch.cat([part.finished for part in parts]),
        sum([part.texts for part in parts], []), parts[0].group_size)


def add_metrics(metrics, found):
    """Add what a helper measured of its share to the leader's metrics."""
    for name in ("loss", "approx_kl", "kl", "clip_fraction"):
        metrics[name] += found[name]
    metrics["drift"] = max(metrics["drift"], found["drift"])


# ---- the optimizer step, in which all gradients meet ---------------------------------------------
class Leader:
    """The optimizer, as the leader's grpo_update sees it: a step takes the helpers' gradients too.
    """

    def __init__(self, model, optimizer, helpers):
        self.model, self.optimizer, self.helpers = model, optimizer, helpers

    def step(self):
        """Add the helpers' gradients to the leader's, and take one step for all -> the norm."""
        found = [helper.answer() for helper in self.helpers]
        if any(gradient is None for gradient in found):  # a helper's loss is not a number
            return self.tell(self.optimizer.skip())
        for gradient in found:
            add_gradient(self.model, gradient)
        return self.tell(self.optimizer.step())

    def skip(self):
        """Take no step, and let the helpers take none -> nan."""
        for helper in self.helpers:
            helper.answer()
        return self.tell(self.optimizer.skip())

    def tell(self, norm):
        """Let the helpers go on with the weights as they are now -> the norm."""
        if self.helpers:
            weights = weights_of(self.model)
            for helper in self.helpers:
                helper.tell(norm, weights)
        return norm


class Follower:
    """The optimizer, as a helper's grpo_update sees it: a step is the leader's."""

    def __init__(self, model, connection):
        self.model, self.connection = model, connection

    def step(self):
        """Hand in the gradient, and take over the new weights -> the norm of the whole gradient."""
        return self.hand_in(take_gradient(self.model))

    def skip(self):
        """Say that the loss is not a number."""
        take_gradient(self.model)
        return self.hand_in(None)

    def hand_in(self, gradient):
        send(self.connection, gradient)
        norm, weights = receive(self.connection)
        load(self.model, weights)
        return norm


def take_gradient(model):
    """The gradient as one vector. The model's is cleared."""
    parts = []
    for param in model.parameters():
        gradient = torch.zeros_like(param) if param.grad is None else param.grad
        parts.append(gradient.flatten())
        param.grad = None
    return torch.cat(parts)


def add_gradient(model, vector):
    """Add a gradient that take_gradient gave."""
    for param, part in cut_up(model, vector):
        param.grad = part.clone() if param.grad is None else param.grad.add_(part)


def weights_of(model):
    """All weights as one vector."""
    return torch.cat([param.detach().flatten() for param in model.parameters()])


@torch.no_grad()
def load(model, vector):
    """Take over weights that weights_of gave."""
    for param, part in cut_up(model, vector):
        param.copy_(part)


def cut_up(model, vector):
    """Pairs of a parameter and its part of the vector, in the parameter's shape."""
    params = list(model.parameters())
    parts = vector.split([param.numel() for param in params])
    return [(param, part.view_as(param)) for param, part in zip(params, parts)]


# ---- helpers -------------------------------------------------------------------------------------
class Helper:
    """A process that samples and computes gradients for the leader; a thread if there is only one
    core."""

    def __init__(self):
        self.connection, there = multiprocessing.Pipe()
        self.process = self.thread = None
        self.student = None  # what it was given: the model and the tokenizer
        if CORES > 1:
            self.process = multiprocessing.get_context("spawn").Process(
                target=serve_alone, args=(there, torch.get_num_threads()), daemon=True)
            with hidden_program():
                self.process.start()
            there.close()  # so that it is the helper's only, and its end is seen here
        else:
            self.thread = threading.Thread(target=serve, args=(there,), daemon=True)
            self.thread.start()

    def ask(self, task, model, tokenizer, *arguments):
        """Give the helper a task, "sample" or "update", and go on without waiting. A student that
        it does not know yet comes first."""
        if self.student != (model, tokenizer):
            self.student = (model, tokenizer)
            self.tell("student", None, self.student)
        self.tell(task, weights_of(model), arguments)

    def tell(self, *message):
        """Send a message."""
        try:
            send(self.connection, message)
        except OSError:
            raise OSError("a helper process has ended") from None

    def answer(self):
        """Wait for what the helper found. Raises what the helper raised."""
        try:
            found = receive(self.connection)
        except (EOFError, OSError):
            raise OSError("a helper process has ended: was it killed, or is memory full?") from None
        if isinstance(found, Exception):
            raise found
        return found

    def end(self):
        """Stop a process, whatever it is doing. A thread ends after its task; it must be over when
        Python ends, or torch aborts the program."""
        if self.process:
            self.process.kill()
            self.process.join()
        self.connection.close()
        if self.thread:
            self.thread.join(timeout=60)


@contextlib.contextmanager
def hidden_program():
    """Hide the started program from new processes. Python would otherwise load it again in each of
    them, and a script that calls train.train without a `__main__` guard would train there, too."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def serve_alone(connection, threads):
    """serve, in a process of its own. Ctrl-C and SIGTERM are for the leader, which ends the
    helpers; a helper also ends when its leader is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(threads)
    serve(connection)


def serve(connection):
    """Do the tasks that come through the connection, until it is closed."""
    try:
        while True:
            task, weights, arguments = receive(connection)
            if task == "student":
                model, tokenizer = arguments
                continue
            load(model, weights)
            try:
                found = perform(task, model, tokenizer, connection, arguments)
            except (EOFError, OSError):
                raise
            except Exception as error:
                found = error
            send(connection, found)
    except (EOFError, OSError):
        return  # the leader is gone, or needs no helpers any more


def perform(task, model, tokenizer, connection, arguments):
    """Do one task -> what the leader waits for."""
    if task == "sample":
        prompts, group_size, max_new_tokens, temperature, seed = arguments
        generator = torch.Generator(model.device).manual_seed(seed)
        return sample(model, tokenizer, prompts, group_size, max_new_tokens, temperature,
                      generator=generator)
    rollouts, advantages, settings = arguments
    return grpo_update(model, Follower(model, connection), rollouts, advantages, **settings)


def send(connection, value):
    """Send by value: torch's own way would open a file for every tensor."""
    connection.send_bytes(pickle.dumps(value))


def receive(connection):
    """What send sent. It is unpickled, for it comes from this program's own process."""
    return pickle.loads(connection.recv_bytes())

"""A GPU that is not there. Within `with pretend_gpu() as gpu:` tensors made on "cuda:0" say that
they lie there, but are computed on the CPU.

    model = gpu.take(model)          its weights lie on the GPU now
    gpu.syncs                        Counter: what made the CPU wait for the GPU, and how often

An operation that mixes a tensor of the GPU with one of the CPU raises RuntimeError, as it would
with a real GPU. What torch allows is allowed: numbers (tensors without dimensions) in pointwise
operations, indices on the CPU, and copies.

How it works. A PretendTensor holds its values in `inner`, on the CPU. For torch's C++ code it lies
on the device "meta", which has an autograd of its own and no values. So nothing can read them
without coming through `PretendGpu.run`.
"""
import contextlib
import functools
from collections import Counter
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

aten = torch.ops.aten
GPU = torch.device("cuda:0")
COPIES = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default,
           aten._index_put_impl_.default)
# Their result's size, or value, depends on values: the CPU waits for it.
READS = {
    aten._local_scalar_dense.default: "item", aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select", aten.equal.default: "equal",
    aten.repeat_interleave.Tensor: "repeat_interleave", aten._unique2.default: "unique",
}


class PretendTensor(torch.Tensor):
    """A tensor that says it lies on cuda:0."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device="meta", requires_grad=False)
        made.inner = inner
        return made

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def __repr__(self):
        return f"on the GPU: {self.inner!r}"

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return PretendGpu.current.run(function, args, kwargs or {})


def on_gpu(device):
    """Is this device, or its name, the pretended one? "meta" is how torch's C++ code calls it."""
    return device is not None and torch.device(device).type in ("cuda", "meta")


@functools.cache
def is_composite(function):
    """Is this operation nothing but others?"""
    return torch._C._dispatch_has_kernel_for_dispatch_key(
        function.name(), "CompositeImplicitAutograd")


def wrapped(value, known):
    """What an operation gave, as tensors of the GPU.

    known: {id of a tensor: the PretendTensor that holds it}, so that an operation in place gives
    back what it was given.
    """
    def wrap(t):
        if not isinstance(t, torch.Tensor):
            return t
        return known[id(t)] if id(t) in known else PretendTensor(t)
    return tree_map(wrap, value)


@contextlib.contextmanager
def pretend_gpu():
    """The PretendGpu, for as long as the context lasts."""
    real = torch.Generator
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # else torch.tensor asks for the GPU unseen
    try:
        with mock.patch.object(torch.cuda, "_lazy_init", lambda: None), \
                mock.patch.object(torch, "Generator", lambda device="cpu": real()), \
                PretendGpu() as PretendGpu.current:
            yield PretendGpu.current
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)


class PretendGpu(TorchDispatchMode):
    """The GPU. `syncs` counts by name what makes the CPU wait; `operations` counts all that ran."""

    current = None

    def __init__(self):
        super().__init__()
        self.syncs = Counter()
        self.operations = 0

    def take(self, model):
        """Put a model's weights and buffers onto the GPU, in place -> the model. Tied weights stay
        tied."""
        moved = {}
        for module in model.modules():
            for name, param in module._parameters.items():
                if param is None:
                    continue
                if id(param) not in moved:
                    inner = param.detach().clone()
                    moved[id(param)] = torch.nn.Parameter(PretendTensor(inner), param.requires_grad)
                module._parameters[name] = moved[id(param)]
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = PretendTensor(buffer)
        return model

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return self.run(function, args, kwargs or {})

    def run(self, function, args, kwargs):
        """One operation of torch, computed on the CPU."""
        if torch.is_inference_mode_enabled() and is_composite(function):
            with self:  # in this mode torch leaves it to us to take it apart
                return function.decompose(*args, **kwargs)
        flat, form = tree_flatten((args, kwargs))
        ours = [x for x in flat if isinstance(x, PretendTensor)]
        tensors = [x for x in flat if isinstance(x, torch.Tensor)]
        theirs = [x for x in tensors if not isinstance(x, PretendTensor)]
        wanted = kwargs.get("device")
        self.operations += bool(ours)
        if ours and theirs:
            self.check(function, args, theirs)
        self.count(function, args, ours, theirs, wanted)
        known = {id(x.inner): x for x in ours}
        plain_args, plain_kwargs = tree_unflatten(
            [x.inner if isinstance(x, PretendTensor) else x for x in flat], form)
        if wanted is not None and on_gpu(wanted):
            plain_kwargs["device"] = torch.device("cpu")
        goes_there = bool(ours) if wanted is None else on_gpu(wanted)
        # In inference mode a view of a normal tensor would not be a normal one itself.
        with torch.inference_mode(False), torch.no_grad():
            found = compute(function, plain_args, plain_kwargs)
            if function is aten.copy_.default:
                return args[0]
            return wrapped(found, known) if goes_there else found

    def check(self, function, args, theirs):
        """Raises RuntimeError if an operation may not take these tensors of the CPU (theirs) beside
        those of the GPU."""
        if function in COPIES:
            return
        if function in INDEXED and isinstance(args[0], PretendTensor):
            values = args[2:3]  # of index_put
            if all(isinstance(v, PretendTensor) or v.dim() == 0 for v in values):
                return
        is_pointwise = torch.Tag.pointwise in function.tags
        changed = args[0] if function._schema.is_mutable else None
        if is_pointwise and all(t.dim() == 0 and t is not changed for t in theirs):
            return
        shapes = [tuple(t.shape) for t in theirs]
        raise RuntimeError(f"{function}: tensors of the CPU, {shapes}, beside tensors of the GPU")

    def count(self, function, args, ours, theirs, wanted):
        """Count what makes the CPU wait for the GPU."""
        name = READS.get(function) if ours else None
        if function is aten._to_copy.default and wanted is not None:
            if on_gpu(wanted) != bool(ours):
                name = "to the CPU" if ours else "to the GPU"
        if function is aten.copy_.default and ours and theirs:
            name = "to the GPU" if isinstance(args[0], PretendTensor) else "to the CPU"
        if function in INDEXED and ours:
            if any(i is not None and i.dtype == torch.bool for i in args[1]):
                name = "index by mask"
        if name:
            self.syncs[name] += 1

    @property
    def waits(self):
        """How often the CPU had to wait, all in all."""
        return sum(self.syncs.values())


def compute(function, args, kwargs):
    """An operation on the CPU, also where only a GPU has it."""
    if function in (aten.mm.dtype, aten.bmm.dtype):
        a, b, dtype = args
        return a.to(dtype) @ b.to(dtype)
    if function is aten.baddbmm.dtype:
        c, a, b, dtype = args
        return kwargs.get("beta", 1) * c + kwargs.get("alpha", 1) * (a.to(dtype) @ b.to(dtype))
    return function(*args, **kwargs)

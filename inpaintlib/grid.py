"""The grid of an experiment: a table of jobs, each a method's search of one item (a target, its mask, its seed).

Jobs of one method run in chunks of one constant size, the last one filled up with copies of its last item, for equal
shapes are what makes a job's result the same to the last bit. A finished chunk is stored at once under the
hash of all that determines it (see :mod:`inpaintlib.store`): after a kill only the chunk that was running is
computed again, and another setting costs only the chunks that it is part of.

All methods of a comparison see the same targets, masks and seeds, so that scores can be compared in pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .checks import InpaintError, check_integer, check_mask
from .images import composite
from .invert import Inversion, Search, invert, replay
from .losses import TERMS, Objective
from .record import Sight, Watch
from .store import Store, digest
from .stylegan2 import Generator
from .weights import checksums

__all__ = ["Method", "Progress", "Task", "compare", "invert_all", "run_all"]

#: Called with generator passes done, of all that are not stored, the losses of the chunk (None = no news) and a text.
Progress = Callable[[int, int, Tensor | None, str], None]


class Method(NamedTuple):
    """One way to fill a hole."""

    objective: Objective
    search: Search


class Task(NamedTuple):
    """Items under one method: image (N, 3, R, R), mask (N or 1, 1, R, R), N seeds."""

    image: Tensor
    mask: Tensor
    method: Method
    seeds: Sequence[int]


class Chunk(NamedTuple):
    """Jobs that are searched together; ``size`` of them, the rest are copies of the last."""

    method: Method
    image: Tensor
    mask: Tensor
    seeds: list[int]
    size: int
    key: str | None  # None = cannot be stored


def invert_all(generator: Generator, image: Tensor, mask: Tensor, method: Method, *, seeds: Sequence[int],
               batch_size: int, store: Store | None = None, progress: Progress | None = None,
               watch: Watch | None = None) -> Inversion:  # fmt: skip
    """Returns the :class:`Inversion` of all items under one method; see :func:`run_all`.

    Where ``watch`` ends the search, items whose chunk had not begun are left out.
    """
    task = Task(image, mask, method, seeds)
    return run_all(generator, {"": task}, batch_size=batch_size, store=store, progress=progress, watch=watch)[""]


def compare(generator: Generator, image: Tensor, mask: Tensor, methods: Mapping[str, Method], *, seeds: Sequence[int],
            batch_size: int, store: Store | None = None,
            progress: Progress | None = None) -> dict[str, Inversion]:  # fmt: skip
    """Returns method -> :class:`Inversion`, all on the same targets, masks and seeds; see :func:`run_all`."""
    if not methods:
        raise InpaintError("methods must hold at least one method; it is empty")
    tasks = {name: Task(image, mask, method, seeds) for name, method in methods.items()}
    return run_all(generator, tasks, batch_size=batch_size, store=store, progress=progress)


def run_all(generator: Generator, tasks: Mapping[str, Task], *, batch_size: int, store: Store | None = None,
            progress: Progress | None = None, watch: Watch | None = None) -> dict[str, Inversion]:  # fmt: skip
    """Returns task -> :class:`Inversion`, its tensors on the CPU, wherever the generator is.

    Args:
        batch_size: jobs in a chunk.
        store: where finished chunks are and go to; None = nowhere. A method whose objective was made by hand, has a
            term of the user's own, or reads weights of another package is never stored: nothing tells when it changes.
        progress: what is told how far the whole grid is.
        watch: called after each step of a chunk; True ends the chunk, which is not stored, and its task.

    Raises:
        InpaintError: for a task without items, another number of seeds or masks than items, a grid over the store's
            budget, a search that diverges; else as :func:`~inpaintlib.invert.invert`.
        KeyboardInterrupt: passed on, since a table of some items only would mislead.
    """
    check_integer("batch_size", batch_size, low=1)
    for image, mask, _, seeds in tasks.values():
        if not len(image):
            raise InpaintError("image must hold at least one target; the grid is empty")
        check_mask("mask", mask, like=image)
        if len(seeds) != len(image):
            raise InpaintError(f"seeds must be {len(image)}, one for each item; got {len(seeds)}")
    facts = None if store is None else _Facts(generator)
    grid = {name: [_chunk(task, start, batch_size, store, facts) for start in range(0, len(task.image), batch_size)]
            for name, task in tasks.items()}  # fmt: skip
    every = [chunk for chunks in grid.values() for chunk in chunks]
    if store is not None:
        store.reserve([(chunk.key, _passes(chunk)) for chunk in every])
    run = _Run(generator, store, progress, every, watch)
    return {name: _joined(_until_stopped(map(run, chunks))) for name, chunks in grid.items()}


def _until_stopped(records: Iterable[Inversion]) -> list[Inversion]:
    """The records up to the first that was stopped."""
    out = []
    for record in records:
        out.append(record)
        if record.stopped == "stopped":
            break
    return out


def _chunk(task: Task, start: int, size: int, store: Store | None, facts: _Facts | None) -> Chunk:
    last = len(task.image) - 1
    items = [min(i, last) for i in range(start, start + size)]
    image, mask = task.image[items].cpu(), task.mask.expand(len(task.image), -1, -1, -1)[items].cpu()
    seeds = [int(task.seeds[i]) for i in items]
    key = None
    if store is not None and _storable(task.method.objective) and facts.known(task.method.objective):
        key = store.key(facts.of(task.method, image, mask, seeds))
    return Chunk(task.method, image, mask, seeds, min(size, last + 1 - start), key)


def _storable(objective: Objective) -> bool:
    ours = [TERMS[name].__module__.startswith(f"{__package__}.") for name in objective.terms if name in TERMS]
    return objective.settings is not None and len(ours) == len(objective.terms) and all(ours)


class _Facts:
    """What determines a chunk's result beside code and machine; a network is read once."""

    def __init__(self, generator: Generator):
        parameter = next(generator.parameters())
        state = {name: x for name, x in sorted(generator.state_dict().items())}
        self.generator = {"config": generator.config, "names": list(state), "state": digest(*state.values()),
                          "device": str(parameter.device)}  # fmt: skip
        self.networks: dict[str, str] = {}

    def known(self, objective: Objective) -> bool:
        """Whether each of an objective's networks has a checksum; those of other packages have none."""
        for name in objective.networks:
            if name not in self.networks:
                self.networks |= checksums(name)
        return all(self.networks[name].startswith("sha256:") for name in objective.networks)

    def of(self, method: Method, image: Tensor, mask: Tensor, seeds: list[int]) -> dict[str, object]:
        networks = {name: self.networks[name] for name in method.objective.networks}
        return {"generator": self.generator, "networks": networks, "objective": method.objective.settings,
                "search": asdict(method.search), "image": digest(image), "mask": digest(mask),
                "seeds": seeds}  # fmt: skip


class _Run:
    """Runs chunks or loads them, and tells how far the grid is."""

    def __init__(self, generator: Generator, store: Store | None, progress: Progress | None, chunks: list[Chunk],
                 watch: Watch | None):  # fmt: skip
        self.generator, self.store, self.progress, self.watch = generator, store, progress, watch
        self.stored = {c.key for c in chunks if c.key is not None and store.holds(c.key)}
        waiting = [c for c in chunks if c.key not in self.stored]
        self.jobs, self.finished = sum(c.size for c in chunks), sum(c.size for c in chunks if c.key in self.stored)
        self.passes, self.done = sum(_passes(c) for c in waiting), 0
        if progress is not None:
            found = f", {self.finished} of them stored" if self.finished else ""
            pace = f", about {self._pace(waiting[0]) * self.passes:.0f} s" if waiting else ""
            progress(0, self.passes, None, f"{self.jobs} jobs{found}{pace}")

    def __call__(self, chunk: Chunk) -> Inversion:
        record = self._load(chunk) if chunk.key in self.stored else None
        if record is None:
            record = self._search(chunk)
            if chunk.key is not None and record.stopped != "stopped":
                self.store.save(chunk.key, *_packed(record))
                self.stored.add(chunk.key)
        return _cut(record, chunk.size)

    def _pace(self, chunk: Chunk) -> float:
        """Seconds that a pass of this chunk takes, from two of them."""
        start = time.perf_counter()
        probe = Search(space=chunk.method.search.space, steps=1, precision=chunk.method.search.precision)
        record = invert(self.generator, chunk.image, chunk.mask, objective=chunk.method.objective, search=probe,
                        seeds=chunk.seeds)  # fmt: skip
        if record.stopped == "interrupted":
            raise KeyboardInterrupt
        return (time.perf_counter() - start) / (2 * len(chunk.image))

    def _load(self, chunk: Chunk) -> Inversion | None:
        found = self.store.load(chunk.key)
        return None if found is None else _unpacked(*found, chunk, self.generator)

    def _search(self, chunk: Chunk) -> Inversion:
        method = chunk.method

        def tell(step: int, steps: int, loss: Tensor) -> None:
            if self.progress is not None:
                share = _passes(chunk) * step // steps
                text = f"{self.finished} of {self.jobs} jobs"
                self.progress(self.done + share, self.passes, loss, text)

        def show(sight: Sight) -> bool:
            return self.watch(_seen(sight, chunk.size))

        record = invert(self.generator, chunk.image, chunk.mask, objective=method.objective, search=method.search,
                        seeds=chunk.seeds, progress=tell, watch=None if self.watch is None else show)  # fmt: skip
        if record.stopped == "interrupted":
            raise KeyboardInterrupt
        if record.stopped == "diverged":
            rate = method.search.learning_rate
            raise InpaintError(
                f"the search diverged, its objective is no number any more; lower learning_rate ({rate:g})"
            )
        self.done += _passes(chunk)
        self.finished += chunk.size
        return _on_cpu(record)


def _passes(chunk: Chunk) -> int:
    return len(chunk.image) * chunk.method.search.passes


def _packed(record: Inversion) -> tuple[dict[str, Tensor], dict[str, object]]:
    """What :func:`_unpacked` makes the record from again; images are not kept, their codes are."""
    history = record.history
    tensors = {"w": record.w, "loss": record.loss, "history": torch.from_numpy(history.to_numpy(dtype=np.float64))}
    if record.z is not None:
        tensors["z"] = record.z
    if not isinstance(record.noise, str):
        tensors |= {f"noise {i}": x for i, x in enumerate(record.noise)}
    noise = record.noise if isinstance(record.noise, str) else len(record.noise)
    return tensors, {"columns": list(history.columns), "noise": noise, "stopped": record.stopped}


def _unpacked(tensors: Mapping[str, Tensor], facts: Mapping, chunk: Chunk, generator: Generator) -> Inversion:
    history = pd.DataFrame(tensors["history"].numpy(), columns=facts["columns"]).astype({"item": int, "step": int})
    w, loss, z, noise = tensors["w"], tensors["loss"], tensors.get("z"), facts["noise"]
    if not isinstance(noise, str):
        noise = [tensors[f"noise {i}"] for i in range(noise)]
    image, mask = chunk.image.to(w), chunk.mask.to(w)
    record = Inversion(w, z, noise, image, image, history, loss, chunk.seeds, chunk.method.search, facts["stopped"],
                       generator)  # fmt: skip
    x_hat = replay(record)
    return replace(record, image=x_hat, composite=composite(image, x_hat, mask))


def _on_cpu(record: Inversion) -> Inversion:
    """The record with its tensors on the CPU, where it is stored, judged and drawn."""
    noise = record.noise if isinstance(record.noise, str) else [maps.cpu() for maps in record.noise]
    z = None if record.z is None else record.z.cpu()
    moved = {name: getattr(record, name).cpu() for name in ("w", "image", "composite", "loss")}
    return replace(record, z=z, noise=noise, **moved)


def _cut(record: Inversion, size: int) -> Inversion:
    """The first ``size`` items."""
    if size == len(record.w):
        return record
    z = None if record.z is None else record.z[:size]
    noise = record.noise if isinstance(record.noise, str) else [maps[:size] for maps in record.noise]
    history = record.history[record.history["item"] < size].reset_index(drop=True)
    return replace(record, w=record.w[:size], z=z, noise=noise, image=record.image[:size],
                   composite=record.composite[:size], history=history, loss=record.loss[:size],
                   seeds=record.seeds[:size])  # fmt: skip


def _seen(sight: Sight, size: int) -> Sight:
    """The first ``size`` items."""
    losses = {name: values[:size] for name, values in sight.losses.items()}
    return sight._replace(seeds=sight.seeds[:size], image=sight.image[:size], losses=losses)


def _joined(parts: list[Inversion]) -> Inversion:
    if len(parts) == 1:
        return parts[0]
    first, starts = parts[0], np.cumsum([0] + [len(p.w) for p in parts])
    cat = lambda name: torch.cat([getattr(p, name) for p in parts])  # noqa: E731
    noise = first.noise
    if not isinstance(noise, str):
        noise = [torch.cat(maps) for maps in zip(*(p.noise for p in parts), strict=True)]
    history = pd.concat([p.history.assign(item=p.history["item"] + s) for p, s in zip(parts, starts, strict=False)])
    ends = [p.stopped for p in parts]
    stopped = ends[-1] if len(set(ends)) == 1 or ends[-1] == "stopped" else "finished"
    return replace(
        first, stopped=stopped, w=cat("w"), z=None if first.z is None else cat("z"), noise=noise, image=cat("image"),
        composite=cat("composite"), history=history.reset_index(drop=True), loss=cat("loss"),
        seeds=[s for p in parts for s in p.seeds],
    )  # fmt: skip

"""A frozen backbone made fast and run at one batch shape: uint8 images in, features out; halved without memory."""

from __future__ import annotations

import logging
import time

import torch
from torch import Tensor, nn

from featcache.backbones import Backbone, fold_batch_norms, narrow_weights, run_network
from featcache.data import normalise
from featcache.devices import HALF_PRECISIONS, one_image_too_many, out_of_memory, products_in, require_precision
from featcache.errors import WorkError

log = logging.getLogger("featcache")


# On a CPU a few images at a time stay in its caches: with 2 threads, 4 to 8 images a pass were fastest for every
# network measured, by 1.1 to 1.5 against 32 (docs/benchmarks.md).
CPU_IMAGES_PER_THREAD = 4


MIN_CPU_IMAGES = 8


class Inference:
    """Features `[n, F]` of uint8 images `[n, 3, S, S]`.

    Every forward pass has the same shape, the last one filled up with repeats: so an image's features, bit for bit, do
    not depend on the images beside it, on how many there are, or on where an earlier run was stopped. Batch norms are
    folded, and weights and images channels-last, but for float32 on a GPU, whose exact kernels are faster the other way
    round: both change features by rounding only. In half precision weights are narrowed once, which changes nothing.
    """

    def __init__(self, backbone: Backbone, device: torch.device, batch_size: int, compiled: bool = False) -> None:
        self.name = backbone.info.identity.backbone
        self.device = device
        self.seconds = 0.0  # spent here, waiting for the device included
        self._preprocessing = backbone.preprocessing
        self._precision = backbone.info.identity.precision
        require_precision(self._precision, device)
        side = self._preprocessing.input_size
        example = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        network, self.folded = fold_batch_norms(backbone.network.cpu(), example)
        contiguous = device.type == "cuda" and self._precision == "float32"
        self._layout = torch.contiguous_format if contiguous else torch.channels_last
        network = network.to(device, memory_format=self._layout)  # type: ignore[call-overload]  # torch's stub lacks it
        self.narrowed = 0  # numbers
        if self._precision in HALF_PRECISIONS:
            example = example.to(device, memory_format=self._layout)
            network, self.narrowed = narrow_weights(network, example, self._precision)
        self._network: nn.Module = torch.compile(network) if compiled else network  # type: ignore[assignment]
        self._compiled = compiled
        self.batch_size = batch_size if device.type == "cuda" else self._steady_batch(batch_size)
        log.debug(
            "%s: %d batch norms folded, %d weights narrowed, %d images a pass",
            self.name,
            self.folded,
            self.narrowed,
            self.batch_size,
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Features float32 `[n, F]` on the CPU; batches that do not fit the memory are halved, down to one image."""
        begin = time.perf_counter()
        if self.device.type == "cuda":
            images = images.pin_memory()
        while True:
            try:
                pieces = [self._filled_up(piece) for piece in images.split(self.batch_size)]
                features = torch.cat(pieces).cpu()
                self.seconds += time.perf_counter() - begin
                return features
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            self._halve()  # outside the handler, whose traceback holds what did not fit

    def _steady_batch(self, most: int) -> int:
        """Images in one pass on a CPU: the fewest, of those that are fast, whose features do not depend on places."""
        size = min(most, cpu_images())
        if self._compiled:  # each size would be compiled
            return size
        try:
            for tried in (n for n in (size, 2 * size, 4 * size) if n <= most):
                if self.is_steady(tried):
                    return tried
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return size  # the first pass will find it out too, and halve
        log.debug("%s: features depend on their places in a batch, by rounding", self.name)
        return size

    def is_steady(self, size: int) -> bool:
        """Whether an image's features, in passes of so many, are the same wherever in the batch it is.

        Elementwise kernels take whole vectors of 8 or 16 numbers, and what is left over at a tensor's end by other code
        that rounds otherwise. Whether a network has such ends follows from its widths, the batch and the processor: it
        is tried out, with a batch and the same batch in reverse.
        """
        images = self.noise(size)
        return torch.equal(self.one_pass(images), self.one_pass(images.flip(0)).flip(0))

    def noise(self, size: int) -> Tensor:
        """So many images `[n, 3, S, S]` of seeded noise, to try passes with."""
        side = self._preprocessing.input_size
        seeded = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=seeded)

    def one_pass(self, images: Tensor) -> Tensor:
        """Features `[n, F]`, on the device, of `[n, 3, S, S]` in a pass of just so many."""
        x = normalise(images.to(self.device, non_blocking=True), self._preprocessing)
        with torch.inference_mode(), products_in(self._precision, self.device):
            try:
                return run_network(self._network, x.contiguous(memory_format=self._layout), self._precision)
            except Exception as error:  # the compiler raises what its many parts raise
                if not self._compiled or out_of_memory(error):
                    raise
                raise WorkError(
                    f"{self.name}: torch.compile failed: {str(error).strip().splitlines()[0]}. Set cache.compile to "
                    "false."
                ) from error

    def _filled_up(self, images: Tensor) -> Tensor:
        n = len(images)
        if n == self.batch_size:
            return self.one_pass(images)
        return self.one_pass(torch.cat([images, images[:1].expand(self.batch_size - n, -1, -1, -1)]))[:n]

    def _halve(self) -> None:
        if self.batch_size == 1:
            raise one_image_too_many(self.name, self.device)
        self.batch_size = max(1, self.batch_size // 2)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.empty_cache()
        log.warning("%s: out of memory; going on with batches of %d", self.name, self.batch_size)


def cpu_images() -> int:
    """Images in one forward pass on this CPU."""
    return max(MIN_CPU_IMAGES, CPU_IMAGES_PER_THREAD * torch.get_num_threads())

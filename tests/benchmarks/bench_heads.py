"""What a head costs in a stack, against the loops that anyone writes.

Every ratio is of times from this run, alternating, the median of the repeats; a head's time is that of an epoch, its
share where several train together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the modules that tests share

from array_rows import ArrayRows
from figures import figure
from photographs import machine
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from featcache.devices import pick_device
from featcache.options.training_options import TrainingOptions
from heads.training.features import Features, Fold
from heads.training.head_spec import HeadSpec
from heads.training.stacked_training import train_heads

TRAIN, VAL, CLASSES, BATCH, HIDDEN = 2870, 430, 4, 32, 1024  # images; the first user's case
DROPOUT, RATE = 0.2, 1e-4


def main() -> None:
    """Run the sections that are asked for."""
    sections = {"one": one, "sixteen": sixteen, "sklearn": against_sklearn, "device": device}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections))
    parser.add_argument("--epochs", type=int, default=20, help="of each repeat")
    parser.add_argument("--device-epochs", type=int, default=50, help="of each repeat of `device`")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    print(machine())
    sections["device"] = partial(device, longer=arguments.device_epochs)
    for name in arguments.sections or sections:
        if name not in sections:
            parser.error(f"{name}: no such section; there are {', '.join(sections)}")
        sections[name](arguments.epochs, arguments.repeats, pick_device(arguments.device))


def clusters(width: int, device: torch.device, seed: int = 0) -> Features:
    """Four noisy clusters: something to learn, and something to get wrong."""
    rng = np.random.default_rng(seed)
    count = TRAIN + VAL
    labels = rng.integers(CLASSES, size=count)
    centres = rng.normal(size=(CLASSES, width)) * 4 / np.sqrt(2 * width)
    x = (centres[labels] + rng.normal(size=(count, width))).astype(np.float32)
    every, views = np.arange(count), np.ones(count, np.int64)
    return Features(ArrayRows(x, every, views), labels, views, (Fold(every[:TRAIN], every[TRAIN:]),), CLASSES, device)


def stacked(features: Features, heads: int, epochs: int, seeds: int = 1 << 30) -> float:
    """Seconds of an epoch of one of so many heads: rates all different, and unless `seeds` says otherwise seeds too."""
    width = features.rows.width
    every = [
        HeadSpec(
            (width, HIDDEN, CLASSES),
            TrainingOptions(epochs=epochs, learning_rate=RATE * (1 + k / heads)),
            k % seeds,
            DROPOUT,
        )
        for k in range(heads)
    ]
    begin = time.perf_counter()
    train_heads(features, every, batch_size=BATCH, keep_weights=True)
    _wait(features.device)
    return (time.perf_counter() - begin) / (epochs * heads)


def one_by_one(features: Features, heads: int, epochs: int) -> float:
    """The same heads, each in a stack of its own."""
    return statistics.mean(stacked(features, 1, epochs) for _ in range(heads))


def plain(features: Features, epochs: int) -> float:
    """Seconds of an epoch of the loop anyone writes: train, then validate in one go."""
    whole = next(iter(features.blocks(0)))
    labels = torch.from_numpy(features.labels).to(features.device)
    val_x, val_y = whole.x[TRAIN:], labels[TRAIN:]
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(features.rows.width, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, CLASSES)
    ).to(features.device)
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(whole.x[:TRAIN].cpu(), labels[:TRAIN].cpu()), batch_size=BATCH, shuffle=True)
    begin = time.perf_counter()
    for _ in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x.to(features.device)), y.to(features.device)).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            logits = model(val_x)
            criterion(logits, val_y).item()
            (logits.argmax(1) == val_y).float().mean().item()
    _wait(features.device)
    return (time.perf_counter() - begin) / epochs


def alternating(ways: Sequence[Callable[[], float]], repeats: int) -> list[list[float]]:
    """Each way's seconds in each repeat, in turns, after one untimed round."""
    for way in ways:
        way()
    rounds = [[way() for way in ways] for _ in range(repeats)]
    return [list(times) for times in zip(*rounds, strict=True)]


def ratio(times: Sequence[float], others: Sequence[float]) -> str:
    """Median of the rounds' own ratios, with the smallest and the largest."""
    ratios = sorted(a / b for a, b in zip(times, others, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def one(epochs: int, repeats: int, device: torch.device) -> None:
    """One head on 2,048 features."""
    features = clusters(2048, device)
    loop, head = alternating([lambda: plain(features, epochs), lambda: stacked(features, 1, epochs)], repeats)
    figure(f"one head [2048,{HIDDEN},{CLASSES}], an epoch", _milliseconds(head), "ms")
    figure("the plain loop, an epoch", _milliseconds(loop), "ms")
    print(f"one head [2048,{HIDDEN},{CLASSES}]: plain {_ms(loop)}, featcache {_ms(head)} an epoch: {ratio(loop, head)}")


def sixteen(epochs: int, repeats: int, device: torch.device) -> None:
    """Sixteen heads on 512 features, together and one by one."""
    features = clusters(512, device)
    ways = [
        lambda: plain(features, epochs),
        lambda: stacked(features, 16, epochs),
        lambda: one_by_one(features, 16, epochs),
    ]
    loop, together, alone = alternating(ways, repeats)
    figure(f"16 heads [512,{HIDDEN},{CLASSES}] together, an epoch of one", _milliseconds(together), "ms")
    figure("the same one by one, an epoch of one", _milliseconds(alone), "ms")
    figure("the plain loop, an epoch", _milliseconds(loop), "ms")
    print(
        f"16 heads [512,{HIDDEN},{CLASSES}], an epoch of one: plain {_ms(loop)}, together {_ms(together)}, one by one "
        f"{_ms(alone)}; plain over together {ratio(loop, together)}, one by one over together {ratio(alone, together)}"
    )


def against_sklearn(epochs: int, repeats: int, device: torch.device) -> None:
    """The same width, batch, rate and epochs as scikit-learn's MLPClassifier, which has no dropout."""
    features, epochs = clusters(512, device), max(10, epochs)
    x, y = next(iter(features.blocks(0))).x.cpu().numpy(), features.labels
    found: dict[str, list[float]] = {"sklearn": [], "featcache": []}

    def theirs() -> float:
        model = MLPClassifier(
            (HIDDEN,), batch_size=BATCH, learning_rate_init=RATE, max_iter=epochs, tol=0, n_iter_no_change=epochs,
            random_state=len(found["sklearn"]),
        )  # fmt: skip
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            model.fit(x[:TRAIN], y[:TRAIN])
        seconds = time.perf_counter() - begin
        found["sklearn"].append(float(model.score(x[TRAIN:], y[TRAIN:])))
        return seconds / epochs

    def ours() -> float:
        training = TrainingOptions(epochs=epochs, learning_rate=RATE, optimizer="adam", weight_decay=0.0)
        head = HeadSpec((512, HIDDEN, CLASSES), training, len(found["featcache"]))
        begin = time.perf_counter()
        (trained,) = train_heads(features, [head], batch_size=BATCH)
        seconds = time.perf_counter() - begin
        found["featcache"].append(trained.curve[-1].val_top1)  # the last epoch, as theirs: no choice of the best
        return seconds / epochs

    slow, fast = alternating([theirs, ours], repeats)
    accuracy = {n: f"{statistics.mean(v):.4f} (spread {statistics.pstdev(v):.4f})" for n, v in found.items()}
    print(
        f"MLPClassifier [512,{HIDDEN},{CLASSES}], {epochs} epochs: {_ms(slow)}, featcache {_ms(fast)} an epoch: "
        f"{ratio(slow, fast)}; accuracy on {VAL} images: {accuracy['sklearn']}, featcache {accuracy['featcache']}"
    )


def device(epochs: int, repeats: int, device: torch.device, longer: int = 50) -> None:
    """256 heads on 2,048 features on a GPU, against the plain loop there and against what its memory allows."""
    if device.type != "cuda":
        print("device: needs a CUDA device; skipped")
        return
    del epochs
    features, count = clusters(2048, device), 256
    loop, together = alternating(
        [lambda: plain(features, 2), lambda: stacked(features, count, longer, seeds=3)], max(1, repeats // 2)
    )
    floats = 2048 * HIDDEN + HIDDEN * CLASSES + HIDDEN + CLASSES
    # A step reads weights for the forward pass, writes gradients, and reads and writes weights and both moments: the
    # optimiser's seven, and the gradients' and the forward pass's one each.
    moved = 9 * 4 * floats * -(-TRAIN // BATCH)
    bandwidth = _copy_bandwidth(device)
    bound = moved / bandwidth
    figure(f"{count} heads [2048,{HIDDEN},{CLASSES}], an epoch of one", _milliseconds(together), "ms")
    figure("the plain loop, an epoch", _milliseconds(loop), "ms")
    figure("bandwidth of copying, read and written", [bandwidth / 1e9], "GB/s")
    figure("of the bound by bandwidth", [bound / seconds for seconds in together], "1")
    print(
        f"{count} heads [2048,{HIDDEN},{CLASSES}], an epoch of one: plain {_ms(loop)}, together {_ms(together)}: "
        f"{ratio(loop, together)}; bound by {bandwidth / 1e9:.0f} GB/s of copying {bound * 1e3:.3f} ms, reached "
        f"{bound / statistics.median(together):.0%} of it"
    )


def _copy_bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.empty(1 << 28, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(8):
        _wait(device)
        begin = time.perf_counter()
        target.copy_(source)
        _wait(device)
        times.append(time.perf_counter() - begin)
    return 2 * source.nbytes / min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _milliseconds(times: Sequence[float]) -> list[float]:
    return [1e3 * seconds for seconds in times]


def _ms(times: Sequence[float]) -> str:
    return f"{statistics.median(times) * 1e3:.1f} ms"


if __name__ == "__main__":
    main()

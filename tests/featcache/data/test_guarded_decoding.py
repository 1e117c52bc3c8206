"""Images whose decoders hang, crash or want the memory are left out, said, and cost no more than the limit."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import TINY
from PIL import Image

from featcache.data.guarded_decoding import is_suspect, within_limits
from featcache.data.image_files import read_picture, read_samples
from featcache.data.unreadable_image import GivenUpError
from featcache.extraction import extract
from featcache.options.loading import parse_options

Config = Callable[..., dict[str, Any]]
GREY = Image.fromarray(np.arange(48 * 32, dtype=np.uint8).reshape(32, 48))


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def scan_bomb(side: int, scans: int) -> bytes:
    """A progressive JPEG that goes over its pixels `scans` times: 1 KB a second of decoding."""
    plain = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    end = plain.rindex(b"\xff\xd9")
    return plain[:end] + plain[plain.rindex(b"\xff\xda") : end] * scans + b"\xff\xd9"


def overlapping_strips() -> bytes:
    """A TIFF each of whose strips says that it has nearly all bytes of the file."""
    data = bytearray(saved(GREY, "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 1}))
    (at,) = struct.unpack_from("<I", data, 4)
    for place in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        tag, _, count, where = struct.unpack_from("<HHII", data, place)
        if tag == 279:
            assert count == 32
            kind = data[place + 2]
            struct.pack_into(f"<{count}{'H' if kind == 3 else 'I'}", data, where, *[len(data) - 8] * count)
    return bytes(data)


def tiled() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(GREY), tile=(64, 64), metadata=None)
    return file.getvalue()


def tiff_pages(count: int) -> bytes:
    """A TIFF of `count` pages of one pixel."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    directory = struct.pack("<H", 7) + b"".join(struct.pack("<HHII", *e) for e in [*entries, (279, 4, 1, 1)])
    size = len(directory) + 4
    links = [8 + size * n for n in range(1, count)] + [0]
    return b"II*\0\x08\0\0\0" + b"".join(directory + struct.pack("<I", link) for link in links)


def test_a_decoder_that_does_not_end_is_killed_and_the_next_image_is_read() -> None:
    begin = time.monotonic()
    with pytest.raises(GivenUpError, match=r"had not ended after 0.2 s \(data.decode_timeout_s\)"):
        within_limits(time.sleep, (60,), 0.2)
    assert time.monotonic() - begin < 30
    assert read_picture(saved(GREY, "PPM")).image.size == (48, 32)


def test_a_decoder_that_wants_the_memory_gets_6_gib() -> None:
    with pytest.raises(GivenUpError, match="wanted more than 6 GiB of memory"):
        within_limits(bytearray, (7 << 30,), 30.0)


def test_a_decoder_that_crashes_takes_nothing_with_it() -> None:
    with pytest.raises(GivenUpError, match=r"crashed \(signal 6\)"):
        within_limits(os.abort, (), 30.0)


def test_such_an_image_is_quarantined_and_the_others_have_their_rows(config: Config, digits: Path) -> None:
    hostile = digits / "train" / "digit 0" / "hostile.jpg"
    hostile.write_bytes(scan_bomb(4000, 1000))  # a minute and more
    data = {"max_bad_fraction": 0.1, "decode_timeout_s": 0.3}
    options = parse_options(config(model={"backbone": TINY, "pretrained": True}, data=data))
    done = extract(options, allow_custom=True)
    assert [(b.name, "data.decode_timeout_s" in b.reason) for b in done.bad] == [("train/digit 0/hostile.jpg", True)]
    assert done.new == 84
    hostile.write_bytes((digits / "train" / "digit 0" / "000.png").read_bytes())
    assert not extract(options, allow_custom=True).bad


def test_an_image_that_hangs_before_it_is_decoded_is_left_out_too(config: Config, digits: Path) -> None:
    """Of 16 bits: its range is asked for first."""
    hostile = digits / "train" / "digit 0" / "hostile.tif"
    values = np.zeros((8_000, 8_000), np.uint16)
    pages = {"save_all": True, "append_images": [GREY]}
    hostile.write_bytes(saved(Image.fromarray(values), "TIFF", compression="tiff_adobe_deflate", **pages))
    data = {"max_bad_fraction": 0.1, "decode_timeout_s": 0.05}
    options = parse_options(config(model={"backbone": TINY, "pretrained": True}, data=data))
    assert [b.name for b in extract(options, allow_custom=True).bad] == ["train/digit 0/hostile.tif"]


def test_a_process_of_its_own_gives_the_same_pixels_and_reasons() -> None:
    deep = Image.fromarray(np.arange(48 * 32, dtype=np.uint16).reshape(32, 48) * 40)
    for image in (GREY, deep):
        data = saved(image, "TIFF", compression="tiff_lzw", save_all=True, append_images=[GREY])
        assert is_suspect(data)
        there, here = read_picture(data), read_picture(data, timeout_s=None)
        assert np.array_equal(np.asarray(there.image), np.asarray(here.image))
        assert (there.pages, there.repaired, there.truncated) == (here.pages, here.repaired, here.truncated)
    found = read_samples(data)
    assert found is not None and np.array_equal(found.colours, np.asarray(deep))
    reasons = []
    for limit in (None, 60.0):
        with pytest.raises(Exception, match="not an image that Pillow knows") as raised:
            read_picture(b"no image", timeout_s=limit)
        reasons.append((type(raised.value), str(raised.value)))
    assert reasons[0] == reasons[1]


@pytest.mark.parametrize(
    ("data", "suspect"),
    [
        (saved(GREY, "JPEG"), False),
        (saved(GREY, "JPEG", progressive=True), False),
        (scan_bomb(64, 40), True),
        (saved(GREY, "PNG"), False),
        (saved(GREY, "WEBP"), False),
        (saved(GREY, "GIF"), False),
        (saved(GREY, "TIFF"), False),
        (saved(GREY.convert("RGB"), "TIFF", compression="tiff_lzw"), False),
        (saved(GREY, "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 1}), False),
        (overlapping_strips(), True),
        (saved(GREY, "TIFF", compression="jpeg"), True),
        (tiled(), True),
        (saved(GREY, "TIFF", save_all=True, append_images=[GREY]), True),
        (saved(GREY.convert("RGB"), "JPEG2000"), True),
        (b"", False),
    ],
)
def test_what_is_not_bounded_by_pixels_and_bytes_is_suspect(data: bytes, suspect: bool) -> None:
    assert is_suspect(data) is suspect


def test_pages_are_counted_in_a_time_that_grows_with_their_number() -> None:
    begin = time.monotonic()
    assert read_picture(tiff_pages(20_000)).pages == 20_000  # by Pillow's count some 20 s
    assert time.monotonic() - begin < 10
    loop = tiff_pages(3)[:-4] + struct.pack("<I", 8)
    assert read_picture(loop).pages == 3


def test_the_limit_makes_no_other_run(config: Config) -> None:
    runs = [parse_options(config(data=data)) for data in ({}, {"decode_timeout_s": 5}, {"decode_timeout_s": None})]
    assert len({run.short for run in runs}) == 1


@pytest.mark.slow
def test_its_process_ends_with_the_command() -> None:
    program = (
        "import os; from featcache.data import guarded_decoding as g; g.within_limits(len, ('',), 30.0);"
        "print(g._idle[0].process.pid, flush=True); os._exit(0)"
    )
    pid = int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout)
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("it goes on")

"""What `featcache serve` was asked for: where it listens, whom it answers, and how much at once."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from featcache.errors import OptionsError

BODIES = 16  # of the largest size, that are in memory together


@dataclass(frozen=True)
class ServeOptions:
    """The options of a server, checked: raises OptionsError."""

    host: str
    port: int  # 0: any that is free
    token: str | None  # that requests have to bring
    max_batch: int  # images that go through the network together
    max_wait_ms: float  # that an image waits for others to go with
    queue: int  # images that are accepted and not answered yet
    max_mb: float  # of one request
    timeout_s: float  # from a request's first byte to its answer
    false_alarms: float  # the share of images like the training ones that may be flagged as unlike

    def __post_init__(self) -> None:
        if self.token is not None and (not self.token or not self.token.isascii() or not self.token.isprintable()):
            raise OptionsError(
                "--token: is empty, or has characters that no header can hold. Expected printable ASCII, such as "
                "`openssl rand -hex 32` gives."
            )
        if not self.is_loopback and self.token is None:
            raise OptionsError(
                f"--host {self.host}: other machines reach this address, and nothing asks them for a token. Give one "
                "with FEATCACHE_TOKEN or --token, or leave out --host to serve this machine alone."
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the host."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def max_bytes(self) -> int:
        """Of one request's body."""
        return int(self.max_mb * 1e6)

    @property
    def max_bodies_bytes(self) -> int:
        """Of all requests' bodies that are in memory at one time."""
        return BODIES * self.max_bytes

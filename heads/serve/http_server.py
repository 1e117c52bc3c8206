"""The process that serves: it listens, and on a signal answers what it has accepted before it goes."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn

from featcache.errors import OutputError
from heads.serve.gate import Gate
from heads.serve.serve_options import ServeOptions

SIGNALS = (signal.SIGINT, signal.SIGTERM)
MOST_TICKS = 20  # of a tenth of a second, that who still comes is told that it stops, and not just cut off


class HttpServer(uvicorn.Server):
    """A server of one application, which `stop` ends once nobody is inside any more."""

    def __init__(self, gate: Gate, options: ServeOptions) -> None:
        super().__init__(
            uvicorn.Config(
                gate,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=int(options.timeout_s) + 1,  # of who does not read the answer
            )
        )
        self._gate = gate
        self._ticks = 0  # since it was told to stop

    def stop(self) -> None:
        """Take no new requests, and end when all that were accepted are answered; the second time at once."""
        if self._gate.closed:
            self.should_exit = self.force_exit = True
        self._gate.closed = True

    async def on_tick(self, counter: int) -> bool:
        """uvicorn asks ten times a second whether it is to end: when nobody is inside, and for one tick nobody came."""
        if self._gate.closed:
            came, self._gate.turned_away = self._gate.turned_away, 0
            self._ticks += 1
            quiet = (self._ticks > 1 and not came) or self._ticks > MOST_TICKS
            self.should_exit = self.should_exit or (quiet and not self._gate.inside)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals stop the server inside the block. uvicorn would raise them once more at the end, and a stop that was
        asked for would look like a failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, lambda *_: self.stop()) for one in SIGNALS}
        try:
            yield
        finally:
            for one, what in before.items():
                signal.signal(one, what)


def bind(options: ServeOptions) -> tuple[socket.socket, str]:
    """A socket at the address that is wanted, on which nobody is answered yet, and the address for people; raises
    OutputError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        one = socket.socket(family, kind)
        with contextlib.ExitStack() as undo:
            undo.callback(one.close)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
            undo.pop_all()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise OutputError(
            f"--host {options.host} --port {options.port}: cannot listen there ({why}). Choose another port (0: any "
            "that is free), or an address of this machine."
        ) from None
    host = f"[{options.host}]" if ":" in options.host else options.host
    return one, f"http://{host}:{one.getsockname()[1]}"

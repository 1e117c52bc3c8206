"""Predictions by HTTP: a finished run's model behind one process, its requests gathered into batches."""

from heads.serve.http_server import HttpServer, bind
from heads.serve.run_server import serving
from heads.serve.serve_options import ServeOptions

__all__ = [
    "HttpServer",
    "ServeOptions",
    "bind",
    "serving",
]

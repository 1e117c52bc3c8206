"""The one tree of exceptions: every failure a user can meet, each kind with its exit code.

A message is one paragraph: what is wrong, what was got, what was expected, what to do next.
"""


class FeatcacheError(Exception):
    """Root of everything featcache raises on purpose; the command line prints it without a traceback."""

    exit_code = 1


class InputError(FeatcacheError, ValueError):
    """The user's input is wrong; nothing has been written."""

    exit_code = 2


class OptionsError(InputError):
    """An options file, or a `--set`, that cannot be used."""


class DataError(InputError):
    """The images, or the folder, table or archive that they are in, cannot be used as they are."""


class UnknownBackboneError(InputError, LookupError):
    """A backbone name that no source knows."""


class InputSizeError(InputError):
    """The network cannot take images of the wanted size."""


class WeightsError(InputError):
    """Weights that are missing, unreadable, or not this network's."""


class PluginError(InputError):
    """An entry point of an installed package that cannot be used."""


class OutputError(InputError):
    """A folder that cannot be written, or a name that would leave it."""


class WorkError(FeatcacheError, RuntimeError):
    """The input was fine and the work failed."""


class NonFiniteError(WorkError):
    """A backbone or a head gave NaN or infinity."""


class StoreError(WorkError):
    """A cache file that is damaged or not ours."""


class ForeignStoreError(StoreError):
    """A cache file that featcache did not write: with links to other files, say. Nothing of it has been read."""

    exit_code = 2


class DiskFullError(WorkError):
    """The disk, or a quota on it, has no room left."""


class RunError(InputError, LookupError):
    """A results folder that does not hold a complete run."""

"""Worker processes: one for each of several devices, started, handed work, listened to and ended here."""

from featcache.workers.messages import Done, Failed, Found
from featcache.workers.worker_group import Job, Workers
from featcache.workers.worker_process import Worker

__all__ = ["Done", "Failed", "Found", "Job", "Worker", "Workers"]

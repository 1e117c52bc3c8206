"""Workers: several processes at one command, handed work, listened to and ended; here those of this machine."""

from featcache.workers.messages import Asked, Done, Failed, Found, Lost, Message, Said, Went
from featcache.workers.process_workers import ProcessWorkers
from featcache.workers.worker_group import DEATHS, Job, Report, Workers, too_many_deaths
from featcache.workers.worker_process import Piece, Place, Worker, begin, outcome

__all__ = [
    "DEATHS",
    "Asked",
    "Done",
    "Failed",
    "Found",
    "Job",
    "Lost",
    "Message",
    "Piece",
    "Place",
    "ProcessWorkers",
    "Report",
    "Said",
    "Went",
    "Worker",
    "Workers",
    "begin",
    "outcome",
    "too_many_deaths",
]

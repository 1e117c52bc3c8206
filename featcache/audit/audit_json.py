"""An audit as a JSON file, and back."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from featcache.atomic import write_text
from featcache.audit.audit_records import Audit
from featcache.errors import RunError

log = logging.getLogger("featcache")

FOLDER = "audit"  # below results/


def write_audit(audit: Audit, file: Path) -> None:
    """`file` holds the audit, or what it held before."""
    write_text(file, json.dumps(audit.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def load_audit(file: Path) -> Audit:
    """The audit in `file`; raises RunError where there is none, or it is damaged or of another version."""
    try:
        return Audit.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{file}: is no audit that can be read ({type(error).__name__}: {error}). Run `featcache audit` again."
        ) from None


def find_audit(results_dir: Path, fingerprint: str) -> Audit | None:
    """The latest audit of the data with this fingerprint, of whichever source; None where none can be read."""
    known = []
    for file in sorted((results_dir / FOLDER).glob(f"*-{fingerprint[:8]}.json")):
        try:
            found = load_audit(file)
        except RunError as error:
            log.warning("%s", error)
            continue
        if found.data.fingerprint == fingerprint:
            known.append(found)
    return max(known, key=lambda one: one.created, default=None)


def audit_file(audit: Audit, results_dir: Path) -> Path:
    """Where an audit belongs: one file for each state of a data set."""
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in audit.data.name)
    return results_dir / FOLDER / f"{safe}-{audit.data.fingerprint[:8]}.json"

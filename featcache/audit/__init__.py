"""The audit of a data set: copies, leakage, suspect labels, outliers, balance; from hashes and cached features."""

from featcache.audit.cleaning import Excluded, clean_list, emptied
from featcache.audit.copies import exact_leaks
from featcache.audit.files import audit_file, find_audit, load_audit, write_audit
from featcache.audit.inspection import audit
from featcache.audit.listing import Written, require_target, write_clean_list
from featcache.audit.records import Audit
from featcache.audit.stores import audit_stores

__all__ = [
    "Audit",
    "Excluded",
    "Written",
    "audit",
    "audit_file",
    "audit_stores",
    "clean_list",
    "emptied",
    "exact_leaks",
    "find_audit",
    "load_audit",
    "require_target",
    "write_audit",
    "write_clean_list",
]

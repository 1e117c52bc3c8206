"""The audit of a data set: copies, leakage, suspect labels, outliers, balance; from hashes and cached features."""

from featcache.audit.audit_from_features import audit
from featcache.audit.audit_from_options import (
    audit_views,
    data_folder,
    plain_options,
    resolved,
    view_data,
)
from featcache.audit.audit_from_stores import audit_stores
from featcache.audit.audit_json import audit_file, find_audit, write_audit
from featcache.audit.audit_records import Audit, ExactGroup, NearGroup
from featcache.audit.clean_list_entries import clean_list, emptied
from featcache.audit.clean_list_file import Written, require_target, write_clean_list
from featcache.audit.exact_copies import exact_leaks, leaks
from featcache.audit.finding_views import Lines, PageView, Table
from featcache.audit.findings import is_complete, page_views, terminal_views
from featcache.audit.group_table_entries import Grouped, group_count, group_table
from featcache.audit.group_table_file import require_groups_target, write_group_table

__all__ = [
    "Audit",
    "ExactGroup",
    "Grouped",
    "Lines",
    "NearGroup",
    "PageView",
    "Table",
    "Written",
    "audit",
    "audit_file",
    "audit_stores",
    "audit_views",
    "clean_list",
    "data_folder",
    "emptied",
    "exact_leaks",
    "find_audit",
    "group_count",
    "group_table",
    "is_complete",
    "leaks",
    "page_views",
    "plain_options",
    "require_groups_target",
    "require_target",
    "resolved",
    "terminal_views",
    "view_data",
    "write_audit",
    "write_clean_list",
    "write_group_table",
]

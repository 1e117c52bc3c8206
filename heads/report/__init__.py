"""What lies in results/ and cache/ becomes one page to look at; nothing is trained, nothing is asked of a network."""

from heads.report.data_page import write_data_page
from heads.report.page_style import page_style
from heads.report.report_files import Written, write_report

__all__ = [
    "Written",
    "page_style",
    "write_data_page",
    "write_report",
]

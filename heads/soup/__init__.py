"""Fine-tuned runs that share a start as one network: the average of their weights (Wortsman et al. 2022)."""

from heads.soup.shared_start import best_of_one_start
from heads.soup.soup_runs import SoupPlan, soup_run, soup_runs

__all__ = ["SoupPlan", "best_of_one_start", "soup_run", "soup_runs"]

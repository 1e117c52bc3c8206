"""Fine-tuned runs that share a start as one network: the average of their weights (Wortsman et al. 2022)."""

from heads.soup.soup_runs import SoupPlan, soup_run, soup_runs

__all__ = ["SoupPlan", "soup_run", "soup_runs"]

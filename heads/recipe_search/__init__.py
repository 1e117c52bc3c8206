"""The recipe of Phase 2, by measurement: recipes tried at growing cost, the best confirmed with fresh seeds."""

from heads.recipe_search.recipe_run import SearchedRun, search_recipe
from heads.recipe_search.search_options import RecipeSearch, load_recipe_search

__all__ = ["RecipeSearch", "SearchedRun", "load_recipe_search", "search_recipe"]

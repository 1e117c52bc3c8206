"""The recipe of Phase 2, by measurement: recipes tried at growing cost, the best confirmed with fresh seeds."""

from heads.recipes.recipe_run import SearchedRun, search_recipe
from heads.recipes.search_options import RecipeSearch, load_recipe_search

__all__ = ["RecipeSearch", "SearchedRun", "load_recipe_search", "search_recipe"]

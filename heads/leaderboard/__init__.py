"""Finished runs in order: rows and columns, ties, the verdict, and which go on to Phase 2."""

from heads.leaderboard.board import Leaderboard, write_leaderboard
from heads.leaderboard.chance_text import tie_text
from heads.leaderboard.chosen_best import contender, judged, with_answers
from heads.leaderboard.column import Column
from heads.leaderboard.columns import Row, columns
from heads.leaderboard.compared_heads import Heads
from heads.leaderboard.control_text import name_of, stand_ins_text
from heads.leaderboard.deployed_latency import deployed_ways
from heads.leaderboard.left_out_text import left_out_lines
from heads.leaderboard.measure_agreement import Agreement
from heads.leaderboard.phase2_choice import Criterion, choose
from heads.leaderboard.ranked_results import RankedResults, Ranking, find_data, rank_results
from heads.leaderboard.ranking import leaderboard
from heads.leaderboard.recipe_notes import notes_lines, recipe_notes
from heads.leaderboard.redundancy_text import joins_text, redundancy_text, redundant_text, said_chance
from heads.leaderboard.shown_columns import shown
from heads.leaderboard.verdict_text import agreements, verdict

__all__ = [
    "Agreement",
    "Column",
    "Criterion",
    "Heads",
    "Leaderboard",
    "RankedResults",
    "Ranking",
    "Row",
    "agreements",
    "choose",
    "columns",
    "contender",
    "deployed_ways",
    "find_data",
    "joins_text",
    "judged",
    "leaderboard",
    "left_out_lines",
    "name_of",
    "notes_lines",
    "rank_results",
    "recipe_notes",
    "redundancy_text",
    "redundant_text",
    "said_chance",
    "shown",
    "stand_ins_text",
    "tie_text",
    "verdict",
    "with_answers",
    "write_leaderboard",
]

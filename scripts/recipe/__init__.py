# SPDX-License-Identifier: BSD-2-Clause
"""Carries out the pages of docs/recipes: their commands, on this machine and in real guests."""

from .page import Page, PageError
from .run import RecipeError, run_recipe
from .table import RECIPES

__all__ = ['RECIPES', 'Page', 'PageError', 'RecipeError', 'run_recipe']

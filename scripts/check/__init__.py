# SPDX-License-Identifier: BSD-2-Clause
"""What scripts/test.py runs and how it tells of it."""

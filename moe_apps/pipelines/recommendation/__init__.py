"""Recommendation: multi-task ranking and uplift, from interaction logs to a served model."""

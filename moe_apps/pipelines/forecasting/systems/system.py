"""What a forecasting system is to the pipeline: how it is built, started, fed and compiled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import keras

from moe_apps.errors import ConfigError
from moe_apps.pipelines.batches import ShuffledBatches
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.windows import WindowedPanel, Windows
from moe_apps.pipelines.optimisation import strategy_scope


class ForecastingSystem(ABC):
    """A model with its training; the model has `forecast`, `routing` and `known_features`.

    `model.forecast(history, horizon, mask, known)` gives `(batch, horizon)`, and
    `model.routing(history, mask, known)` `(batch, tokens, layers, experts)`, tokens being the
    points of the history or one for the whole window. A model with a head has `spread` and
    `quantiles` too (see `WithHead`).

    Attributes:
        title: Name for people.
        loss_name: What its training minimises where it has no head.
        starts_fitted: Whether a model forecasts well before any training; then the start is kept
            where no epoch is better.
    """

    title: ClassVar[str]
    loss_name: ClassVar[str]
    starts_fitted: ClassVar[bool] = False

    def loss_of(self, config: ForecastingConfig) -> str:
        """What the training of these settings minimises, for the figure."""
        heads = {"quantile": "pinball loss", "student_t": "negative log-likelihood"}
        if config.model.head in heads:
            return f"{heads[config.model.head]}, balance loss included"
        return self.loss_name

    def build(
        self, config: ForecastingConfig, season: int, known_features: int = 0, dense: bool = False
    ) -> keras.Model:
        """The model that the settings describe, or its dense twin, with fresh weights.

        Args:
            config: The settings.
            season: Steps of a season.
            known_features: Features known beforehand that the data have.
            dense: Build the dense twin.

        Raises:
            ConfigError: Sizes that do not go together.
        """
        try:
            with strategy_scope(config.train):
                return self._model(config, season, known_features, dense)
        except ValueError as error:
            raise ConfigError(f"model: {str(error).splitlines()[0]}") from error

    @abstractmethod
    def _model(
        self, config: ForecastingConfig, season: int, known_features: int, dense: bool
    ) -> keras.Model: ...

    def start(self, model: Any, data: WindowedPanel, season: int) -> tuple[str, ...]:
        """Give a new model what can be fitted in closed form; return what that was."""
        return ()

    @abstractmethod
    def compile(self, model: Any, config: ForecastingConfig, batches_per_epoch: int) -> None:
        """Compile for `training.fit`."""

    @abstractmethod
    def batches(self, windows: Windows, config: ForecastingConfig) -> ShuffledBatches:
        """Training batches of (inputs, targets)."""

"""Forecasts and quantiles of any horizon, for models that may have a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moe_apps.models.forecasting.heads import Head


class WithHead:
    """Forecasts and quantiles of a model that may have a head.

    The model has `spread`, a `Head` or None, and `_rolled`, which gives `(batch, horizon)`, or
    `(batch, horizon, outputs)` where there is one. Where a horizon is rolled, the middle of a
    block is what the next one reads: its spread is that of its own steps, as if the ones before
    had come as forecast.
    """

    spread: Head | None

    @property
    def rolled_as(self) -> dict[str, Any]:
        """Arguments of `roll` for blocks of this model."""
        if self.spread is None:
            return {}
        return {"point": self.spread.point, "outputs": self.spread.outputs}

    def _rolled(self, history: Any, horizon: Any, mask: Any, known: Any) -> Any:
        raise NotImplementedError

    def forecast(self, history: Any, horizon: Any, mask: Any = None, known: Any = None) -> Any:
        """Forecast `horizon` steps; see `roll` for histories and horizons of other lengths."""
        outputs = self._rolled(history, horizon, mask, known)
        return outputs if self.spread is None else self.spread.point(outputs)

    def quantiles(
        self,
        history: Any,
        horizon: Any,
        probabilities: Sequence[float],
        mask: Any = None,
        known: Any = None,
    ) -> Any:
        """Quantiles of `horizon` steps, `(batch, horizon, probabilities)`; 0.5 is the forecast."""
        if self.spread is None:
            raise ValueError('`head` is "point": this model forecasts no quantiles.')
        return self.spread.quantiles(
            self._rolled(history, horizon, mask, known), tuple(probabilities)
        )

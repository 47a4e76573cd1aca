"""A domain whose work is done by the modules of its package."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from moe_apps.pipelines.domain import Domain, Served
from moe_apps.pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    from moe_apps.pipelines.training import OnEpoch, TrainingResult


class PackagedDomain(Domain):
    """A domain whose methods are functions of the same names in modules of its package.

    `train`, `train_only` and `evaluate` stand in `pipeline`, `predict` and `request` in
    `prediction`. They are
    imported when they are called, so that importing the domain stays light. What only one domain
    has, it adds.

    Attributes:
        inspects: Module of the package with `inspect`.
        serves: Module of the package with `served`.

    Example:
        >>> from moe_apps.pipelines.forecasting import DOMAIN
        >>> isinstance(DOMAIN, PackagedDomain), DOMAIN.inspects
        (True, 'data')
    """

    inspects: ClassVar[str] = "inspect"
    serves: ClassVar[str] = "prediction"

    def train(self, config: Any, run: RunFolder, resume: bool) -> dict[str, Any]:
        return self._call("pipeline", "train", config, run, resume)

    def train_only(self, config: Any, run: RunFolder, on_epoch: OnEpoch) -> TrainingResult:
        found: TrainingResult = self._call("pipeline", "train_only", config, run, on_epoch)
        return found

    def evaluate(self, run: RunFolder, data: Path | None) -> dict[str, Any]:
        return self._call("pipeline", "evaluate", run, data)

    def predict(self, run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
        return self._call("prediction", "predict", run, input, output)

    def inspect(self, path: Path) -> dict[str, Any]:
        return self._call(self.inspects, "inspect", path)

    def served(self, run: RunFolder) -> Served:
        return self._call(self.serves, "served", run)

    def request(self, run: RunFolder, input: Path) -> dict[str, Any]:
        return self._call("prediction", "request", run, input)

    def _call(self, module: str, function: str, *arguments: Any) -> Any:
        found: Callable[..., Any] = getattr(
            import_module(f"{type(self).__module__}.{module}"), function
        )
        return found(*arguments)

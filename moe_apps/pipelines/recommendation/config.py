"""Settings of a recommendation run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from moe_apps.pipelines.config import RunConfig, Settings
from moe_apps.pipelines.train_settings import TrainSettings

System = Literal[
    "shared_bottom", "mmoe", "cgc", "ple", "home", "aw_moe", "adapt_dhm", "mtmt", "magnet"
]


class DataSettings(Settings):
    """Which files, what their columns mean, and how rows are divided.

    Attributes:
        path: CSV or Parquet file, or a folder of them; None for the sample data.
        schema_file: YAML file with the schema (`moe-apps inspect recommendation PATH` drafts
            one); `--schema` on the command line. Needed with `path`.
        split: How rows are divided: random; time (the latest are test); user_time (the latest of
            each user); leave_last_out; user (test users are new).
        validation_fraction: Share of validation rows (or users); not for leave_last_out.
        test_fraction: Share of test rows (or users); not for leave_last_out.
        streamed: Read in chunks and train from files on disk, so that memory does not grow with
            the data (split random or user only); auto does so beyond `streamed_from` bytes.
        streamed_from: Size of the files, in bytes, from which `auto` streams.
        evaluated_rows: With streaming: most rows of validation, and of test, that are judged.
        negatives: Rows drawn for each row with the first task's label above 0, of items that the
            user has no row with; for logs that hold only what users took. Not with streaming.
        negatives_power: Items are drawn as often as their number of training rows to this power.
        strict: Whether one file of a folder that cannot be used stops the run.
        rows: Rows of the sample data.
    """

    path: str | None = None
    schema_file: str | None = None
    split: Literal["random", "time", "user_time", "leave_last_out", "user"] = "random"
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    streamed: Literal["auto", True, False] = "auto"
    streamed_from: int = Field(default=2**28, ge=0)
    evaluated_rows: int = Field(default=200_000, ge=1)
    negatives: int = Field(default=0, ge=0, le=1000)
    negatives_power: float = Field(default=0.0, ge=0, le=1)
    strict: bool = False
    rows: int = Field(default=60_000, ge=500)


class ModelSettings(Settings):
    """The model; None takes the system's own default.

    Attributes:
        name: The system.
        units: Widths of each expert's (or the one network's) layers.
        tower_units: Hidden widths of each task's tower.
        dropout: Dropout of embedding and towers.
        embedding_dimension: Length of a category's vector where the schema gives none; None
            takes 1.6 n^0.56 of its number of values, up to 32.
        crossing: Cross layers (DCN V2) before the experts; needs keras-rs.
        num_experts: Experts: mmoe, home (of each set), aw_moe, mtmt.
        specific: Experts of each task's own: cgc, ple.
        shared: Experts of all tasks: cgc, ple.
        levels: Levels: ple.
        gate: softmax, or the name of a registered router such as dselect_k or comet: mmoe, cgc,
            ple, home.
        k: Experts (selectors) of such a router.
        gate_dropout: Gate weights dropped in training: mmoe, cgc, ple.
        feature_rank: Rank of the feature gates: home.
        num_clusters: Clusters: adapt_dhm.
        behaviour: Sequences that are the behaviour, of one length: aw_moe; None takes all.
        behaviour_units: Length of behaviour vectors: aw_moe.
        contrastive_weight: Factor of the contrastive loss: aw_moe.
        mask_probability: Behaviours dropped for it: aw_moe.
        temperature: Of the contrastive loss: aw_moe.
        normalize: none or softmax of the gate: aw_moe.
        token_dimension: Length of the fields' vectors in the attention: mtmt.
    """

    name: System = "mmoe"
    units: tuple[int, ...] | None = None
    tower_units: tuple[int, ...] = (32,)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    embedding_dimension: int | None = Field(default=None, ge=1, le=1024)
    crossing: int = Field(default=0, ge=0)
    num_experts: int | None = Field(default=None, ge=1)
    specific: int | None = Field(default=None, ge=0)
    shared: int | None = Field(default=None, ge=1)
    levels: int | None = Field(default=None, ge=1)
    gate: str = "softmax"
    k: int = Field(default=2, ge=1)
    gate_dropout: float | None = Field(default=None, ge=0, lt=1)
    feature_rank: int | None = Field(default=None, ge=1)
    num_clusters: int | None = Field(default=None, ge=1)
    behaviour: tuple[str, ...] | None = None
    behaviour_units: int | None = Field(default=None, ge=1)
    contrastive_weight: float | None = Field(default=None, ge=0)
    mask_probability: float | None = Field(default=None, ge=0, le=1)
    temperature: float | None = Field(default=None, gt=0)
    normalize: Literal["none", "softmax"] | None = None
    token_dimension: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _positive_units(self) -> ModelSettings:
        for units in (self.units or (1,), self.tower_units or (1,)):
            if not units or min(units) < 1:
                raise ValueError(f"units must be positive numbers, found {list(units)}")
        return self


class RecommendationTrainSettings(TrainSettings):
    """Training settings; the epoch with the best validation score is kept."""

    epochs: int = Field(default=12, ge=1, le=100_000)
    batch_size: int = Field(default=512, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, le=10)
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    patience: int = Field(default=3, ge=0)


class EvaluationSettings(Settings):
    """How a model is judged.

    Attributes:
        batch_size: Rows answered at once.
        dense_twin: Also train one network for all tasks, of as many parameters.
        single_task: Also train one such network a task, each of that task alone.
        boosting: Also fit LightGBM, where it is installed.
        ranking: Rank the items of each test user's positive rows: `sampled` beside `negatives`
            random items that the user has no row with, `full` beside all of them, or none. Needs
            user and item.
        negatives: Number of them.
        k: Length of the lists of NDCG@k and HR@k, and of `predict`'s lists for users.
        ranked_rows: Most positive test rows that are ranked.
    """

    batch_size: int = Field(default=4096, ge=1)
    dense_twin: bool = True
    single_task: bool = False
    boosting: bool = True
    ranking: Literal["none", "sampled", "full"] = "none"
    negatives: int = Field(default=99, ge=1)
    k: int = Field(default=10, ge=1)
    ranked_rows: int = Field(default=2000, ge=1)


class RecommendationConfig(RunConfig):
    """All settings of a recommendation run.

    Example:
        >>> RecommendationConfig().model.name
        'mmoe'
    """

    domain: str = "recommendation"
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: RecommendationTrainSettings = RecommendationTrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

"""Recommendation: multi-task ranking and uplift, from interaction logs to a served model."""

from __future__ import annotations

from typing import Any, ClassVar

from moe_apps.pipelines.domain import System
from moe_apps.pipelines.packaged_domain import PackagedDomain
from moe_apps.pipelines.recommendation.config import RecommendationConfig


class Recommendation(PackagedDomain):
    """Multi-task ranking and uplift; see `moe_apps.pipelines.domain.Domain`.

    The headline is `score`, the mean over the tasks of the metric that the schema gives each
    (`judgement.overall`), so that it exists for regression as for clicks.
    """

    name = "recommendation"
    title = "Recommendation and multi-task ranking"
    summary = (
        "Predicts clicks, purchases and other outcomes at once from interaction logs, ranks items "
        "for users, and estimates what a treatment changes."
    )
    systems = (
        System(
            "shared_bottom",
            "Shared bottom",
            "Caruana 1997, Multitask Learning, Machine Learning 28",
            "https://doi.org/10.1023/A:1007379606734",
        ),
        System(
            "mmoe",
            "MMoE",
            "Ma et al. 2018, Modeling Task Relationships in Multi-task Learning with Multi-gate "
            "Mixture-of-Experts, KDD",
            "https://doi.org/10.1145/3219819.3220007",
        ),
        System(
            "cgc",
            "CGC",
            "Tang et al. 2020, Progressive Layered Extraction, RecSys",
            "https://doi.org/10.1145/3383313.3412236",
        ),
        System(
            "ple",
            "PLE",
            "Tang et al. 2020, Progressive Layered Extraction, RecSys",
            "https://doi.org/10.1145/3383313.3412236",
        ),
        System(
            "home",
            "HoME",
            "Wang et al. 2024, HoME: Hierarchy of Multi-Gate Experts for Multi-Task Learning at "
            "Kuaishou, arXiv 2408.05430",
            "https://arxiv.org/abs/2408.05430",
        ),
        System(
            "aw_moe",
            "AW-MoE",
            "Gong et al. 2023, Attention Weighted Mixture of Experts with Contrastive Learning "
            "for Personalized Ranking in E-commerce, ICDE, arXiv 2306.05011",
            "https://arxiv.org/abs/2306.05011",
        ),
        System(
            "adapt_dhm",
            "AdaptDHM",
            "Li et al. 2022, AdaptDHM: Adaptive Distribution Hierarchical Model for Multi-Domain "
            "CTR Prediction, arXiv 2211.12105",
            "https://arxiv.org/abs/2211.12105",
        ),
        System(
            "mtmt",
            "MTMT",
            "Wei et al. 2024, Multi-Treatment Multi-Task Uplift Modeling for Enhancing User "
            "Growth, arXiv 2408.12803",
            "https://arxiv.org/abs/2408.12803",
        ),
        System(
            "magnet",
            "MAGNET (our interpretation of the abstract)",
            "2026, MAGNET, arXiv 2602.20723",
            "https://arxiv.org/abs/2602.20723",
        ),
    )
    config_class = RecommendationConfig
    quick: ClassVar[dict[str, Any]] = {
        "data": {"rows": 12_000},
        "train": {"epochs": 4, "batch_size": 128},
        "evaluation": {"boosting": False},
    }
    sample = "a log of users, items, sequences and three tasks, made by our generator"
    headline = "score"
    higher_is_better = True
    monitor = "val_score"
    monitor_mode = "max"
    search_space: ClassVar[dict[str, Any]] = {
        "train.learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "model.dropout": {"low": 0.0, "high": 0.4},
        "model.embedding_dimension": [4, 8, 16],
    }


DOMAIN = Recommendation()

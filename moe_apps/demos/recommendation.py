"""The tab of recommendation: a user or features in, a ranked list out."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from moe_apps.demos.answering import PROGRESS, answering, shown_in
from moe_apps.demos.recommendation_rows import (
    MOST_USERS,
    THIS_ROW,
    loaded_of,
    pairs,
    typed_rows,
    users_of,
)
from moe_apps.demos.trained_run import TrainedRun
from moe_apps.errors import DataError

TITLE = "Recommendation"
MOST_ITEMS = 30


class Recommender:
    """What the buttons of the tab do.

    Attributes:
        source: Where the model comes from.
    """

    def __init__(self, source: TrainedRun) -> None:
        self.source = source

    @answering
    def recommend(
        self,
        user: str | None = None,
        features: pd.DataFrame | None = None,
        count: float = 10,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        """The best items for a user, or for features that are typed.

        Args:
            user: An id; by default the most active one, or nobody where features are typed.
            features: Columns `feature` and `value`; by default what is known of the user.
            count: Length of the list.
            progress: Gradio's.

        Returns:
            users, features, chart, list, gates, words, items and features for a what-if.
        """
        from moe_apps.demos import recommendation_answer as shown
        from moe_apps.demos import recommendation_what_if as what_if
        from moe_apps.pipelines.recommendation.candidates import is_of_item, paired
        from moe_apps.pipelines.recommendation.top_items import ranked

        run = self.source.get(shown_in(progress))
        loaded = loaded_of(run)
        prepare, schema = loaded.preprocessing, loaded.preprocessing.schema
        progress(0.3, desc="ranking")
        typed = typed_rows(features)
        if not user and typed.empty and loaded.users:
            user = loaded.users[0]
        asked = pairs(run, loaded, typed, user)
        if loaded.lists:
            table = ranked(asked, loaded.answer, prepare, int(count))
            if table.empty:
                raise DataError(f"user '{user}': has a row with every item; none is left to list")
            items = table[schema.item].astype(str)
            place = pd.Index(asked.names.astype(str)).get_indexer(items)
        else:
            place = np.zeros(1, np.int64)
            answers = loaded.answer(prepare.inputs(asked.users))
            found = {
                task: prepare.in_units(task, values.astype(float))
                for task, values in answers.items()
            }
            table = pd.DataFrame({"rank": [1], "item": [THIS_ROW], **found})
            items = table["item"]
        inputs = paired(
            prepare,
            prepare.inputs(asked.users),
            prepare.inputs(asked.items),
            np.zeros(len(place), np.int64),
            place,
        )
        gates = loaded.gates(inputs)
        for one in schema.fields:
            if loaded.lists and is_of_item(schema, one) and one.column != schema.item:
                column = asked.items.columns[one.name]
                table[one.name] = [shown.as_text(one, column, number) for number in place]
        labels = [f"{number}. {name}" for number, name in zip(table["rank"], items, strict=True)]
        table = table.drop(columns=[schema.user] if loaded.lists else [])
        words = [
            shown.how_sure(run, schema, user, asked.unknown, table),
            shown.reading_of(run, gates),
        ]
        words.append(self.source.about(run))
        now = shown.features_of(asked.users, schema)
        choices = what_if.fields(schema)
        return (
            gr.update(choices=loaded.users[:MOST_USERS], value=user),
            now,
            shown.list_chart(table, labels, schema),
            table.round(4),
            shown.gates_chart(gates),
            "\n\n".join(filter(None, words)),
            gr.update(choices=list(items), value=items.iloc[0]),
            gr.update(choices=choices, value=choices[0] if choices else None),
        )

    @answering
    def what_if(
        self,
        user: str | None,
        features: pd.DataFrame | None,
        item: str | None,
        feature: str | None,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, str]:
        """How the answers for one item change with one feature.

        Args:
            user: As in `recommend`.
            features: As in `recommend`.
            item: Id of the item.
            feature: Name of a number or category.
            progress: Gradio's.

        Returns:
            chart, words.
        """
        from moe_apps.demos import recommendation_answer as shown
        from moe_apps.demos import recommendation_what_if as what_if
        from moe_apps.pipelines.recommendation.candidates import is_of_item, paired

        if not feature:
            raise DataError("Recommend first, then choose a feature.")
        run = self.source.get(shown_in(progress))
        loaded = loaded_of(run)
        prepare, schema = loaded.preprocessing, loaded.preprocessing.schema
        if feature not in what_if.fields(schema):
            expected = ", ".join(what_if.fields(schema))
            raise DataError(f"feature '{feature}': is not known; expected {expected}")
        asked = pairs(run, loaded, typed_rows(features), user)
        names = list(map(str, asked.names))
        if item and item not in names:
            raise DataError(f"item '{item}': is not known to the run")
        place = names.index(item) if item else 0
        field = schema.field(feature)
        of_item = loaded.lists and is_of_item(schema, field)
        now = shown.as_text(
            field,
            (asked.items if of_item else asked.users).columns[feature],
            place if of_item else 0,
        )
        column, texts = what_if.values_of(prepare, feature, now)
        rows = np.arange(len(texts))
        users, items = asked.users.take(0 * rows), asked.items.take(0 * rows + place)
        if of_item:
            items = items.with_columns({feature: column})
        else:
            users = users.with_columns({feature: column})
        inputs = paired(prepare, prepare.inputs(users), prepare.inputs(items), rows, rows)
        answers = {
            task: prepare.in_units(task, values.astype(float))
            for task, values in loaded.answer(inputs).items()
        }
        words = what_if.words(schema, feature, texts, answers, now, item or THIS_ROW)
        return what_if.chart(schema, feature, texts, answers, now), words


def tab(source: TrainedRun) -> None:
    """Fill the tab that is open in Gradio's context."""
    recommender = Recommender(source)
    found = source.find()
    users = users_of(found) if found else []
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            user = gr.Dropdown(
                users,
                value=None,
                label="User: choose one, type an id, or leave it empty",
                allow_custom_value=True,
                elem_id="recommend-user",
            )
            features = gr.Dataframe(
                headers=["feature", "value"],
                datatype="str",
                type="pandas",
                row_count=1,
                column_count=2,
                interactive=True,
                max_height=320,
                label="Features: filled in for a user; type others to see what changes",
                elem_id="recommend-features",
            )
            count = gr.Slider(1, MOST_ITEMS, value=10, step=1, label="Length of the list")
            start = gr.Button("Recommend", variant="primary", elem_id="recommend-start")
        with gr.Column(scale=5, min_width=300):
            chart = gr.Plot(label="Ranked list", elem_id="recommend-chart")
            words = gr.Markdown(elem_id="recommend-words")
            gates = gr.Plot(
                label="Weight of each expert for the first item", elem_id="recommend-gates"
            )
            with gr.Accordion("Numbers", open=False):
                table = gr.Dataframe(label="Ranked list", interactive=False, max_height=320)
    with gr.Accordion("What if one feature were another?", open=True), gr.Row():
        with gr.Column(scale=2, min_width=300):
            item = gr.Dropdown([], label="Item", allow_custom_value=True)
            feature = gr.Dropdown([], label="Feature", allow_custom_value=True)
            ask = gr.Button("Show", elem_id="recommend-what-if")
        with gr.Column(scale=5, min_width=300):
            curve = gr.Plot(label="Answers by the value of the feature", elem_id="recommend-curve")
            said = gr.Markdown(elem_id="recommend-said")
    start.click(
        recommender.recommend,
        [user, features, count],
        [user, features, chart, table, gates, words, item, feature],
        api_name="recommend",
        concurrency_id="recommendation",
    )
    ask.click(
        recommender.what_if,
        [user, features, item, feature],
        [curve, said],
        api_name="what_if",
        concurrency_id="recommendation",
    )
    # Another user has other features.
    user.input(lambda: typed_rows(None), None, features, api_visibility="private")

from __future__ import annotations

import base64
import re
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.reading import reading
from moe_apps.pipelines.report import Figure, Report, Table, show, verdict, write_report
from moe_apps.pipelines.run_folder import RunFolder

ROWS = {
    "MoE": {"mse": 0.4, "r2": 0.5, "kind": "ours"},
    "dense twin": {"mse": 0.45, "r2": 0.6},
    "ridge": {"mse": 0.37, "r2": 0.55},
    "broken": {"mse": float("nan")},
}
TABLE = Table("Results", ROWS, {"mse": "min", "r2": "max"}, highlight="MoE")
# The smallest valid PNG is not needed: only the bytes have to arrive.
PICTURE = b"\x89PNG\r\n\x1a\n picture"


@pytest.fixture
def page(tmp_path) -> str:
    (tmp_path / "a.png").write_bytes(PICTURE)
    run = RunFolder(tmp_path / "my run")
    run.path.mkdir()
    report = Report(
        title="A <run> & more",
        summary=verdict(TABLE, "MoE", "mse", "test MSE"),
        results=TABLE,
        subtitle="system time_moe",
        facts={"parameters": 113_352_192},
        figures=(Figure(tmp_path / "a.png", "Picture", 'What "there" is to see'),),
        tables=(Table("Routing", {"expert 0": {"share": 0.125}}),),
        notes=("12 values were missing", "<script>alert(1)</script>"),
        reading=(reading([0.7, 0.3], where="Layer 0"),),
    )
    write_report(report, run, RunConfig(domain="forecasting", seed=5))
    (tmp_path / "a.png").unlink()
    return run.report_file.read_text(encoding="utf-8")


def test_the_page_says_everything(page):
    for text in (
        "ridge is better than MoE: test MSE 0.3700 against 0.4000. MoE is number 2 of 3.",
        "113,352,192",
        "What &#34;there&#34; is to see",
        "12 values were missing",
        "domain: forecasting\n",
        "seed: 5\n",
        "Layer 0: expert 0 has the most of 2 (70 %), expert 1 the least (30 %).",
        "Keras backend",
        "0.1250",
    ):
        assert text in page


def test_the_page_says_how_to_go_on(page):
    text = unescape(page)
    config = re.search(r"moe-apps train forecasting --config ('.*?my run/config.yaml') ", text)
    assert config is not None
    assert re.search(r"moe-apps export '.*?my run' --to served\nmoe-apps serve served\n", text)


def test_the_page_needs_nothing_beside_it(page):
    assert f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}" in page
    page = page.replace("http://127.0.0.1:8501", "")  # of a command that is shown
    assert not re.search(r"https?://|<link|<script|@import|url\(", page)
    assert re.findall(r'src="(.{10})', page) == ["data:image"]


def test_content_is_escaped(page):
    assert "<title>A &lt;run&gt; &amp; more</title>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_every_tag_is_closed(page):
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    tags = Tags()
    tags.feed(page)
    assert tags.open == []


def test_best_of_each_column_is_bold_and_gaps_are_shown(page):
    cells = {name: row for name, row in TABLE.formatted()}
    assert TABLE.columns == ["mse", "r2", "kind"]
    assert [cell.best for cell in cells["ridge"]] == [True, False, False]
    assert [cell.best for cell in cells["dense twin"]] == [False, True, False]
    assert [cell.text for cell in cells["broken"]] == ["-", "-", "-"]
    assert set(re.findall(r"<strong>(.*?)</strong>", page)) == {"0.3700", "0.6000"}
    assert '<tr class="ours"><th scope="row">MoE</th>' in page


def test_values_that_look_the_same_are_both_best():
    table = Table("", {"a": {"x": 0.50001}, "b": {"x": 0.50002}}, {"x": "min"})
    assert [cells[0].best for _, cells in table.formatted()] == [True, True]


@pytest.mark.parametrize(
    ("ours", "metric", "sentence"),
    [
        ("ridge", "mse", "ridge is the best of 3: mse 0.3700 against 0.4000 of the next, MoE."),
        (
            "MoE",
            "r2",
            "dense twin is better than MoE: r2 0.6000 against 0.5000. MoE is number 3 of 3.",
        ),
        ("broken", "mse", "broken has no mse to compare by."),
    ],
)
def test_the_verdict_is_honest(ours, metric, sentence):
    assert verdict(TABLE, ours, metric) == sentence


def test_the_verdict_on_a_tie_and_on_a_model_alone():
    tie = Table("", {"a": {"x": 1.0}, "b": {"x": 1.0}}, {"x": "min"})
    assert verdict(tie, "a", "x") == "a and b are equally good: x 1.000."
    alone = Table("", {"a": {"x": 1.0}}, {"x": "min"})
    assert verdict(alone, "a", "x").endswith("there is nothing to compare it with.")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (-1.5, "-1.500"), (31.25, "31.25"), (999.96, "1,000.0"), (2785, "2,785")],
)
def test_numbers_are_readable(value, text):
    assert show(value) == text


def test_the_template_is_where_an_installed_package_finds_it():
    assert (files("moe_apps.pipelines") / "templates" / "report.html").is_file()

"""The report: what is read from a run folder, what is said of it, and what the page holds."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_run import FakeRun
from page_text import skeleton
from PIL import Image
from plans import paper_shardset, tiny_plan

from cluster.fleet import Fleet
from data_shards.pack import PackOptions, pack
from data_shards.shardset import ShardSet
from raytrain.errors import RunError
from raytrain.plan import RunPlan, resolve
from raytrain.recipe import Published
from raytrain.report import Report, build_report, headline, markdown, write_report
from raytrain.report.draw import brief, drawn
from raytrain.report.render import page
from raytrain.report.shapes import Frame, Line
from raytrain.report.words import duration, labels, percent

PAPER = Published(row="ResNeXt-50 + CBAM", top1=78.07, source="Woo et al. 2018, Table 5")


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A shard set's manifest, with no pictures behind it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shardset.json").write_text(paper_shardset().model_dump_json())
    return str(tmp_path / "data")


@pytest.fixture
def pair(tmp_path: Path, data: str) -> list[Report]:
    """A finished fine-tune that lost a worker, and an unfinished run that a paper's row stands beside."""
    first, second = tiny_plan(workers=2, name="tuned"), tiny_plan(name="fresh", published=PAPER)
    run = FakeRun(tmp_path / "runs" / "a", first, data, top1=0.8, seed=1).train(30)
    run.lose_worker()
    run.train(50).finish()
    (run.run / "transfer.json").write_text(json.dumps({"lines": ["88 tensors carried over as they are"]}))
    FakeRun(tmp_path / "runs" / "b", second, data, top1=0.6, seed=2).train(34)
    return [build_report(str(tmp_path / "runs" / name)) for name in "ab"]


def test_page_and_table_read_as_accepted(
    pair: list[Report], tmp_path: Path, golden: Callable[[str, str], None]
) -> None:
    golden("report/table.md", markdown(pair) + "\n")
    golden("report/page.txt", skeleton(page(pair), tmp_path))


def test_report_says_what_the_files_say(pair: list[Report]) -> None:
    finished, unfinished = pair
    assert (finished.finished, finished.step, finished.evaluated_step) == (True, 50, 50)
    assert (unfinished.finished, unfinished.step, unfinished.evaluated_step) == (False, 34, 25)
    assert (finished.workers_lost, finished.resumed, finished.skipped_steps) == (1, 1, 1)
    assert finished.evaluation is not None
    assert finished.evaluations[-1].top1 == finished.evaluation.top1
    assert finished.best == max(finished.evaluations, key=lambda point: point.top1)
    assert len(finished.curve) == 49, "50 steps, of which one was skipped and has no loss"
    assert finished.transfer == ("88 tensors carried over as they are",)
    assert set(finished.classes.values()) <= set(paper_shardset().classes)


def test_time_is_split_without_a_gap(pair: list[Report]) -> None:
    """Begun 6 s before the first step, two evaluations of 1.25 s, two checkpoints of 0.8 s, 9 s for the restart."""
    timing = pair[0].timing
    elapsed = (pair[0].events[-1].time - pair[0].events[0].time).total_seconds()
    assert (timing.evaluation, timing.checkpoint) == (2.5, 1.6)
    assert timing.other == pytest.approx(15.0, abs=0.01)
    parts = timing.compute + timing.data_wait + timing.evaluation + timing.checkpoint + (timing.other or 0)
    assert parts == pytest.approx(elapsed, abs=0.01)
    assert timing.images_per_second == pytest.approx(16 / 0.5, rel=0.1)
    assert pair[1].timing.other is None


def test_pauses_between_sessions_are_not_counted(tmp_path: Path, data: str) -> None:
    run = FakeRun(tmp_path / "run", tiny_plan(), data, top1=0.5).train(25)
    run.passes(86400)
    run.event("started", workers=1, plan="x")
    run.passes(4)
    run.event("resumed", step=25, world=1)
    run.train(50).finish()
    assert build_report(str(run.run)).timing.other == pytest.approx(10.0, abs=0.01)


def test_long_runs_have_short_curves(tmp_path: Path, data: str) -> None:
    run = FakeRun(tmp_path / "run", tiny_plan(epochs=20), data, top1=0.5).train(500).run
    curve = build_report(str(run)).curve
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(curve) == 100
    assert curve[-1].step == 500
    assert curve[-1].loss == pytest.approx(sum(losses[-4:]) / 4)


def test_reports_travel_as_json(pair: list[Report], tmp_path: Path) -> None:
    assert write_report(pair, tmp_path / "out") == tmp_path / "out" / "report.html"
    values = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [Report.model_validate(value) for value in values] == pair


def test_a_run_that_only_began_has_a_page(tmp_path: Path, data: str) -> None:
    begun = build_report(str(FakeRun(tmp_path / "run", tiny_plan(), data, top1=0.5).run))
    assert headline([begun]) == ["tiny has not finished: step 0 of 50, not evaluated yet."]
    assert begun.evaluation is None
    assert "tiny has not finished" in page([begun])


def test_a_folder_without_a_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"holds no run: plan\.json is missing\. Make one with `raytrain train"
    ):
        build_report(str(tmp_path))


def test_a_plan_of_another_version_is_named(tmp_path: Path, data: str) -> None:
    run = FakeRun(tmp_path / "run", tiny_plan(), data, top1=0.5).run
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps(plan | {"colour": "red"}))
    with pytest.raises(RunError, match=r"plan\.json cannot be read: colour: extra inputs are not permitted"):
        build_report(str(run))


def test_a_row_cut_by_a_kill_is_left_out(tmp_path: Path, data: str) -> None:
    run = FakeRun(tmp_path / "run", tiny_plan(), data, top1=0.5).train(7).run
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    assert build_report(str(run)).step == 7


@pytest.mark.parametrize("change", ["gone", "repacked"])
def test_other_data_gives_no_names_and_no_pictures(tmp_path: Path, data: str, change: str) -> None:
    run = FakeRun(tmp_path / "run", tiny_plan(), data, top1=0.5).train(50).run
    manifest = Path(data) / "shardset.json"
    manifest.unlink() if change == "gone" else manifest.write_text(paper_shardset(80).model_dump_json())
    report = build_report(str(run))
    assert report.classes == {}
    assert {"gone": "shardset.json is missing", "repacked": "another set now"}[change] in str(
        report.data_problem
    )
    assert "label 0" in page([report])
    assert "Surest mistakes" not in page([report])


def coloured(root: Path) -> tuple[str, ShardSet]:
    """A packed set in which every image of n00000001 is red and every one of n00000002 is blue."""
    for split, count in (("train", 4), ("val", 10)):
        for wnid, colour in (("n00000001", (220, 20, 20)), ("n00000002", (20, 20, 220))):
            folder = root / "raw" / split / wnid
            folder.mkdir(parents=True)
            for n in range(count):
                Image.new("RGB", (40, 30), colour).save(folder / f"{wnid}_{n}.JPEG")
    url = str(root / "shards")
    return url, pack(root / "raw", url, PackOptions(name="two"), 1, 0.0, lambda *_: None).shardset


def two_colour_plan(shardset: ShardSet) -> RunPlan:
    recipe = tiny_plan(global_batch=4).recipe
    return resolve(recipe, Fleet(name="test"), shardset, engine="torch")


def test_pictures_are_the_mistaken_images(tmp_path: Path) -> None:
    url, shardset = coloured(tmp_path)
    run = FakeRun(tmp_path / "run", two_colour_plan(shardset), url, top1=0.5)
    order = [int(sum(Image.open(io.BytesIO(raw)).getpixel((9, 9))[2:]) > 99) for raw in jpegs(url, shardset)]
    run.train(4)
    report = build_report(str(run.run))
    assert report.evaluation is not None
    labelled = [
        mistake.model_copy(update={"label": order[mistake.index]}) for mistake in report.evaluation.mistakes
    ]
    evaluation = report.evaluation.model_copy(update={"mistakes": tuple(labelled)})
    html = page([report.model_copy(update={"evaluation": evaluation})])
    shown = re.findall(r'src="data:image/jpeg;base64,([^"]+)".*?<b>(n\d+)</b>', html, flags=re.S)
    assert len(shown) == len(labelled) > 0
    for source, wnid in shown:
        red, _, blue = Image.open(io.BytesIO(base64.b64decode(source))).getpixel((84, 84))  # type: ignore[misc]
        assert (red > blue) == (wnid == "n00000001")


def jpegs(url: str, shardset: ShardSet) -> list[bytes]:
    from data_shards.reader import read_jpeg

    return [read_jpeg(url, shardset, "val", index) for index in range(shardset.split("val").samples)]


def test_page_needs_no_network_and_escapes(tmp_path: Path, data: str) -> None:
    folder = tmp_path / "<script>alert(1)" / "$x_1$"
    run = FakeRun(folder, tiny_plan(summary="a <b>bold</b> plan"), data, top1=0.5).train(50).run
    report = build_report(str(run))
    html = page([report, report.model_copy(update={"run": str(folder.parent / "y")})])
    assert not re.search(r'(src|href)="(?!data:|#)|url\((?!#)|@import|<script', html)
    assert "a &lt;b&gt;bold&lt;/b&gt; plan" in html
    assert "$x_1$" in html


def test_each_run_has_one_colour_and_no_stand_in_is_left(pair: list[Report]) -> None:
    html = page(pair)
    svgs = re.findall(r"<svg.*?</svg>", html, flags=re.S)
    assert len(svgs) == 5
    for svg in svgs:
        assert set(re.findall(r"var\(--run-(\d)\)", svg)) == {"0", "1"}
        assert "#0001" not in svg


def best(report: Report, name: str, top1: float, samples: int = 800) -> Report:
    """The report of a run of that name that ended with that accuracy."""
    assert report.evaluation is not None
    found = report.evaluation.model_copy(update={"top1": top1, "samples": samples})
    return report.model_copy(update={"name": name, "run": f"/runs/{name}", "evaluation": found})


def test_headline_compares_the_best_with_the_next(pair: list[Report]) -> None:
    """The margin: 1.96 * sqrt(0.612 * 0.388 / 800 + 0.572 * 0.428 / 800) = 4.8 points."""
    first = pair[0]
    runs = [best(first, "low", 0.1), best(first, "high", 0.612), best(first, "middle", 0.572)]
    assert headline(runs) == [
        "high reached 61.2 % top-1 on 800 held-out images after 50 steps (2 epochs); "
        "4.0 points above middle, the next (95 % margin: ±4.8)."
    ]


def test_headline_compares_only_what_saw_the_same_images(pair: list[Report]) -> None:
    other = pair[0].plan.data.model_copy(update={"fingerprint": "another"})
    wide = best(
        pair[0].model_copy(update={"plan": pair[0].plan.model_copy(update={"data": other})}), "wide", 0.3
    )
    sentences = headline([wide, best(pair[0], "narrow", 0.6)])
    assert [sentence.split(" top-1")[0] for sentence in sentences] == [
        "wide reached 30.0 %",
        "narrow reached 60.0 %",
    ]
    assert not any("points" in sentence for sentence in sentences)


def test_headline_holds_a_run_against_the_published_row(pair: list[Report]) -> None:
    recipe = pair[0].plan.recipe.model_copy(update={"published": PAPER})
    plan = pair[0].plan.model_copy(update={"recipe": recipe})
    (sentence,) = headline([best(pair[0].model_copy(update={"plan": plan}), "x", 0.7701, samples=50_000)])
    assert sentence == (
        "x reached 77.01 % top-1 on 50,000 held-out images after 50 steps (2 epochs); "
        "1.06 points below the published 78.07 %."
    )


def test_runs_of_one_recipe_are_told_apart_by_their_folders(pair: list[Report]) -> None:
    runs = ["/study/one/final", "/study/two/final"]
    assert labels([pair[0].model_copy(update={"run": run}) for run in runs]) == ["one/final", "two/final"]
    assert labels(pair) == ["tuned", "fresh"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.84, "0.8 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (18720, "5 h 12 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_percent_has_the_digits_that_the_images_can_tell() -> None:
    assert (percent(0.612, 800), percent(0.83421, 50_000)) == ("61.2", "83.42")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.05, "0.05"), (300, "300"), (2500, "2,500"), (25_000, "25k"), (384e6, "384M"), (1e-5, "1e-05")],
)
def test_numbers_below_an_axis_stay_short(number: float, text: str) -> None:
    assert brief(number) == text


def test_a_chart_says_its_title_as_text_and_leaves_out_names_without_room() -> None:
    names = tuple(f"configuration {n}" for n in range(40))
    line = Line(xs=list(range(40)), ys=[1.0] * 40, run=0)
    svg = drawn(Frame(title='"><b>$a_b$', names=names), [line]).svg
    assert "<b>" not in svg
    assert 0 < svg.count("configuration") < 6

"""The made-up recipes of `benchmarks/decisions.py` are what they say, and their verdicts are judged."""

from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def planted(name: str) -> Any:
    from scenarios.planted import SCENARIOS

    return next(one for one in SCENARIOS if one.name == name)


def test_what_cannot_be_known_of_the_labels_is_the_rate_at_which_the_likeliest_is_wrong() -> None:
    from scenarios.images import Codes

    rng = torch.Generator().manual_seed(0)
    codes = Codes.draw(4, 1.5, rng)
    images = codes.images(20_000, rng)
    posterior = codes.posterior(images.pixels)
    assert torch.allclose(posterior.sum(1), torch.ones(len(images)), atol=1e-4)
    wrong = (posterior.argmax(1) != images.labels).float().mean().item()
    claimed = (1 - posterior.max(1).values).mean().item()
    assert wrong == pytest.approx(claimed, abs=0.01)
    assert 0.02 < wrong < 0.4


def test_a_network_is_the_same_whoever_is_trained_beside_it() -> None:
    from scenarios.ensemble import Fit, fit
    from scenarios.images import Codes

    rng = torch.Generator().manual_seed(0)
    images = Codes.draw(4, 1.0, rng).images(512, rng)
    one, other = (
        Fit(images.pixels, images.labels, classes=4, seed=seed, width=8, steps=40) for seed in (1, 2)
    )
    alone, together = fit([one])[0], fit([other, one])[1]
    for ours, theirs in zip(alone.weights, together.weights, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(fit([other])[0].weights[0], alone.weights[0], atol=1e-2)


def test_a_planted_fault_is_named_and_a_model_is_not_blamed_for_a_bug() -> None:
    from scenarios.judged import judge, totals

    judged = [judge(planted(name), [0]) for name in ("too short", "shards sorted")]
    assert [one["said"] for one in judged] == [["longer"], ["bug"]]
    assert [one["gap_rule"] for one in judged] == [["capacity"], ["capacity"]]
    assert judged[0]["best"] == "longer"
    assert judged[0]["regret"] == 0 < 0.01 < judged[0]["gap_rule_regret"]
    assert totals(judged) == {
        "verdicts": 2, "named": 2, "model_blamed": 0, "named_gap_rule": 0, "model_blamed_gap_rule": 1, "stops": 1,
    }  # fmt: skip


def test_without_the_fault_the_same_recipe_passes_the_preflight() -> None:
    from dataclasses import replace

    from scenarios.world import MadeWorld

    broken = planted("shards sorted")
    assert "class mix" in [one.name for one in MadeWorld(broken, 0).checks() if not one.green]
    assert all(one.green for one in MadeWorld(replace(broken, fault=""), 0).checks())


def test_recorded_curves_have_the_rank_correlation_that_they_are_made_for(tmp_path: Path) -> None:
    from scenarios.recorded import CORRELATIONS, SHARES, WAYS, record, replayed

    from tuning.search.fidelity import spearman
    from tuning.search.replay import read_recording

    found = []
    for seed in range(10):
        record(tmp_path / f"{seed}.csv", "as ViT", seed)
        curves = read_recording(tmp_path / f"{seed}.csv").curves.values()
        found.append(spearman([c[-2].error or 0 for c in curves], [c[-1].error or 0 for c in curves]))
    assert sum(found) / 10 == pytest.approx(CORRELATIONS["as ViT"][SHARES.index(0.5)], abs=0.08)
    true = replayed("true early", WAYS[0], 0, tmp_path / "true")
    assert true["open"]
    assert true["cost"] <= 0.4

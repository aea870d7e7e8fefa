"""How much each parameter matters for being among the best trials: PED-ANOVA (Watanabe et al. 2023), from Optuna."""

from collections.abc import Sequence

from tuning.search.told import Objective, Told
from tuning.space import Space

FEWEST = 10  # trials that it is computed on [choice]
AHEAD = 5  # trials among the best, "preferable" by Optuna's own note


def importance(
    space: Space, told: Sequence[Told], objectives: Sequence[Objective]
) -> dict[str, float] | None:
    """Shares that add up to 1, by parameter, the most first; None of fewer than `FEWEST` trials at their ends.

    Of several objectives: of being near their front.
    """
    done = [row for row in told if row.state == "done" and row.point]
    if len(done) < FEWEST:
        return None
    import optuna

    from tuning.search.tpe import distribution, frozen, quiet_optuna

    quiet_optuna()
    distributions = {param.name: distribution(param.dimension) for param in space.params}
    study = optuna.create_study(
        directions=["minimize" if name != "images_per_second" else "maximize" for name in objectives]
    )
    study.add_trials([frozen(row, distributions, objectives, told) for row in done])
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, AHEAD / len(done)))
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))

"""A session: what `raytrain train` does around the driver. Progress and the report."""

import sys
from pathlib import Path

from data_shards.budget import MAX_BAD
from raytrain.claim import check_claim
from raytrain.errors import ResumeLater, UsageError
from raytrain.job import Job
from raytrain.plan import RunPlan
from raytrain.progress import following
from raytrain.remote import SHOWN, Mirror, fetched, url_of
from raytrain.runlog import NEWEST_STEPS, PLAN
from raytrain.tell import plan_text
from raytrain.workplace import workplace


def train_and_report(
    plan: RunPlan, *, data: str, out: Path, address: str | None, max_bad: float = MAX_BAD
) -> Path:
    """Train to the end, as `run_shown`, and write the report; returns its path. Raises what the driver raises."""
    from raytrain.report import build_report, markdown, write_report

    run = run_shown(plan, data=data, out=out, address=address, max_bad=max_bad)
    reports = [build_report(str(run))]
    page = write_report(reports, run)
    Mirror(run, url_of(out)).push("report.*")
    print(markdown(reports))
    print(f"report: {page}")
    return page


def run_shown(plan: RunPlan, *, data: str, out: Path, address: str | None, max_bad: float = MAX_BAD) -> Path:
    """Print the plan and run it to its end, showing progress; returns the run's folder.

    Raises what the driver raises, and before anything is printed RunError where the folder holds another run.
    """
    remote = url_of(out)
    job = Job(
        plan=plan,
        data_url=absolute(data),
        run=remote or str(run_folder(out)),
        remote=remote,
        max_bad=max_bad,
    )
    check_out(job)
    print(plan_text(plan), flush=True)
    from raytrain.driver import run_job  # seconds: torch and Ray

    try:
        with workplace(job) as here:
            run = Path(here.run)
            Mirror(run, remote).pull(*SHOWN)  # what was told before is not told again
            with following(run, plan):
                run_job(here, address=address, say=warn)
    except KeyboardInterrupt:
        raise ResumeLater("interrupted; the same command goes on from the newest checkpoint") from None
    return fetched(out)


def check_out(job: Job) -> None:
    """Raise RunError where the run's folder holds another run. The driver asks again, once the run is its own."""
    with workplace(job) as here:
        mirror = Mirror(Path(here.run), job.remote)
        mirror.pull(PLAN, NEWEST_STEPS)
        check_claim(Path(here.run), here, mirror.others())


def run_folder(out: Path | str) -> Path:
    """A study's absolute folder. Raises UsageError for S3: its ledger is appended, which objects cannot be."""
    if url := url_of(out):
        raise UsageError(f"--out {url}: a study's folder lies on a disk that all workers share, not in S3")
    return Path(out).absolute()


def absolute(data: str) -> str:
    """A data URL that means the same in every process."""
    return data if "://" in data else str(Path(data).absolute())


def warn(line: str) -> None:
    """A line for the person at the terminal, beside the results."""
    print(line, file=sys.stderr, flush=True)

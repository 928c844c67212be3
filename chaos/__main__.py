"""`python -m chaos`: plays the faults, and a load; exit code 1 when anything was lost."""

import asyncio
import os
import sys

import click
import msgspec

from chaos import load as loads
from chaos.scenarios import SCENARIOS
from chaos.scenarios import run as play
from chaos.stage import Result

SHORT, LONG = 4.0, 30.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--scenario", "names", multiple=True, type=click.Choice([*SCENARIOS, "load"]), help="Only this; repeatable."
)
@click.option("--seconds", type=click.FloatRange(1), help=f"Of each; {LONG:g} when not given, 600 of the load.")
@click.option("--short", is_flag=True, help=f"{SHORT:g} seconds of each, and of the load.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(names: tuple[str, ...], seconds: float | None, short: bool, as_json: bool) -> None:
    """Break things while clients are at work, and compare what they were told with what is there."""
    results: list[Result] = []
    load: loads.Load | None = None
    for name in names or [*SCENARIOS, "load"]:
        if name == "disk-full" and os.geteuid() != 0:
            click.echo("disk-full is left out: only root may mount a file system.", err=True)
            continue
        click.echo(f"{name} …", err=True)
        if name == "load":
            load = asyncio.run(loads.run(SHORT if short else seconds or 600))
        else:
            results.append(asyncio.run(play(name, SHORT if short else seconds or LONG)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"faults": results, "load": load})).decode())
    else:
        _show(results, load)
    if not all(one.outcome.is_right for one in results) or (load is not None and not load.is_right):
        sys.exit(1)


def _show(results: list[Result], load: loads.Load | None) -> None:
    if results:
        click.echo(
            f"{'fault':34}{'times':>6}{'acknowledged':>14}{'lost':>6}{'altered':>9}{'unsent':>8}"
            f"{'recovery s':>12}{'failed':>8}"
        )
    for one in results:
        of = one.outcome
        click.echo(
            f"{one.fault:34}{one.times:>6}{of.acknowledged:>14,}{of.lost:>6}{of.altered:>9}{of.unsent:>8}"
            f"{one.recovery:>12.2f}{one.failed:>8}"
        )
    if load is not None:
        click.echo(f"load: {load.requests_per_second:,.0f} requests/s for {load.seconds:g} s")
        for kind, taken in load.milliseconds.items():
            click.echo(f"  {kind}: " + ", ".join(f"{name} {value:.1f} ms" for name, value in taken.items()))
        click.echo("  answers: " + ", ".join(f"{status}: {count:,}" for status, count in load.statuses.items()))
        click.echo("  memory: " + ", ".join(f"{when} {value:.0f} MiB" for when, value in load.memory.items()))
        of = load.outcome
        click.echo(f"  acknowledged {of.acknowledged:,}, lost {of.lost}, altered {of.altered}, unsent {of.unsent}")


if __name__ == "__main__":
    main()

"""The subject of a dashboard: a pair, its runs on W&B, and the colours of its arms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xnorlit.comparison.comparison import Comparison
from xnorlit.errors import UserError
from xnorlit.report.wandb.figures import Figures, figures
from xnorlit.report.wandb.settings import Settings

_LONGEST_TITLE = 128  # W&B's limit


@dataclass(frozen=True)
class Subject:
    """A pair, as the dashboard shows it.

    Args:
        comparison: The comparison of the pair's runs.
        record: The page's record of the comparison.
        figures: The pair's own run, with its gap, sizes and times.
        run_ids: W&B's ids of the compared runs that are on the server, by arm.
        colours: `#rrggbb` by arm.
        title: Title of the report and of the view.
    """

    comparison: Comparison
    record: dict[str, Any]
    figures: Figures
    run_ids: Mapping[str, tuple[str, ...]]
    colours: Mapping[str, str]
    title: str

    @staticmethod
    def of(
        comparison: Comparison, record: dict[str, Any], settings: Settings, run_ids: Mapping[str, tuple[str, ...]]
    ) -> "Subject":
        """The subject of a pair under the given settings.

        Raises:
            UserError: The title is longer than W&B allows.
        """
        shown = figures(record)
        title = settings.title.replace("{pair}", shown.pair)
        if len(title) > _LONGEST_TITLE:
            raise UserError(
                f"The dashboard's title has {len(title)} characters, but W&B allows {_LONGEST_TITLE}: {title!r}. "
                "Shorten `title` in the dashboard's settings."
            )
        colours = settings.colours_of([arm.label for arm in comparison.arms])
        return Subject(comparison, record, shown, run_ids, colours, title)

    @property
    def colour_of_runs(self) -> dict[str, str]:
        """Each run's colour, which is its arm's, by the run's id."""
        return {run_id: self.colours[arm] for arm, ids in self.run_ids.items() for run_id in ids}

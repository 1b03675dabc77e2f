"""Pictures that are shown twice: within Markdown in Dagster's UI, and in an HTML file. Words, without matplotlib."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING = "The picture needs matplotlib, which is not installed: `pip install 'offpeak[reports]'`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG as an address that holds it, or None where it cannot be drawn."""

    words: str
    """For those who cannot see it; where there is none, why."""
    address: str | None

    @property
    def markdown(self) -> str:
        return self.words if self.address is None else f"![{self.words}]({self.address})"


def picture(draw: "Callable[[], Figure]", words: str) -> Picture:
    """What `draw` draws, with `words` for those who cannot see it. `draw` imports what it needs itself."""
    try:
        from offpeak.reports.plots import png

        drawn = png(draw())
    except ModuleNotFoundError as error:
        if error.name not in {"matplotlib", "PIL"}:
            raise
        return Picture(words=MISSING, address=None)
    return Picture(words=words, address=f"data:image/png;base64,{b64encode(drawn).decode()}")

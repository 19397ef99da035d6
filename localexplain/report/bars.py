"""Progress bars on a terminal: done, rate, time left. Gone when the stage ends."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class RateColumn(ProgressColumn):
    """Items a second, over the last seconds."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="dim")


class Bars:
    """A progress.Watcher that draws one bar at a time on standard error."""

    def __init__(self) -> None:
        self._bars: Progress | None = None

    def begin(self, name: str, total: int | None, unit: str) -> None:
        self.end()
        self._bars = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            RateColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bars.add_task(name, total=total)
        self._bars.start()

    def advance(self, items: int) -> None:
        if self._bars is not None:
            self._bars.advance(self._bars.task_ids[0], items)

    def end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

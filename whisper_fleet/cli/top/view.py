"""What the user chose to see, and what a key changes. Pure: a key and a view give the next view and an action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from whisper_fleet.cli.top.snapshot import JobLine


class Order(StrEnum):
    """How running jobs are sorted."""

    NEWEST = "newest"
    OLDEST = "oldest"
    PROGRESS = "progress"
    NAME = "name"


class Mode(Enum):
    """What keys mean now."""

    NORMAL = "normal"
    FILTER = "filter"  # they are letters of the filter
    CONFIRM = "confirm"  # whether the selected job is to be cancelled


class Key(StrEnum):
    """Keys that are no letters."""

    UP = "up"
    DOWN = "down"
    ENTER = "enter"
    ESCAPE = "escape"
    BACKSPACE = "backspace"


@dataclass(frozen=True, kw_only=True)
class Action:
    """What the terminal has to do after a key."""

    quits: bool = False
    cancels: str | None = None  # id of the job to cancel


@dataclass(frozen=True, kw_only=True)
class View:
    """The choices of the user; `selected` is the id of a job."""

    order: Order = Order.NEWEST
    filter: str = ""
    selected: str | None = None
    mode: Mode = Mode.NORMAL

    def shown(self, jobs: Sequence[JobLine]) -> list[JobLine]:
        """Return the jobs that match the filter by file, tenant or id, in the chosen order."""
        wanted = self.filter.casefold()
        matching = [job for job in jobs if any(wanted in text.casefold() for text in (job.file, job.tenant, job.job))]
        match self.order:
            case Order.NEWEST:
                return sorted(matching, key=lambda job: job.accepted, reverse=True)
            case Order.OLDEST:
                return sorted(matching, key=lambda job: job.accepted)
            case Order.PROGRESS:
                return sorted(matching, key=lambda job: job.share, reverse=True)
        return sorted(matching, key=lambda job: job.file.casefold())


def press(view: View, key: str, jobs: Sequence[JobLine]) -> tuple[View, Action]:
    """Return the view after a key, a letter or a Key, and what is to be done."""
    match view.mode:
        case Mode.FILTER:
            return _typed(view, key), Action()
        case Mode.CONFIRM:
            cancels = view.selected if key == "y" else None
            return replace(view, mode=Mode.NORMAL), Action(cancels=cancels)
    return _pressed(view, key, view.shown(jobs))


def _pressed(view: View, key: str, shown: Sequence[JobLine]) -> tuple[View, Action]:
    match key:
        case "q":
            return view, Action(quits=True)
        case "s":
            orders = list(Order)
            return replace(view, order=orders[(orders.index(view.order) + 1) % len(orders)]), Action()
        case "/":
            return replace(view, mode=Mode.FILTER), Action()
        case Key.ESCAPE:
            return replace(view, filter="", selected=None), Action()
        case Key.UP | "k":
            return _moved(view, shown, -1), Action()
        case Key.DOWN | "j":
            return _moved(view, shown, 1), Action()
        case "c" if view.selected in [job.job for job in shown]:
            return replace(view, mode=Mode.CONFIRM), Action()
    return view, Action()


def _typed(view: View, key: str) -> View:
    match key:
        case Key.ENTER:
            return replace(view, mode=Mode.NORMAL)
        case Key.ESCAPE:
            return replace(view, mode=Mode.NORMAL, filter="")
        case Key.BACKSPACE:
            return replace(view, filter=view.filter[:-1])
    return replace(view, filter=view.filter + key) if len(key) == 1 and key.isprintable() else view


def _moved(view: View, shown: Sequence[JobLine], step: int) -> View:
    """Select the next or the previous job; the first one if none that is shown is selected."""
    if not shown:
        return replace(view, selected=None)
    ids = [job.job for job in shown]
    if view.selected not in ids:
        return replace(view, selected=ids[0])
    place = min(max(ids.index(view.selected) + step, 0), len(ids) - 1)
    return replace(view, selected=ids[place])

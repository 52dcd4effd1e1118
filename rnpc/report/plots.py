"""The report's plots. Each takes evidence and returns an SVG element; the caller makes sure that the part it draws is not empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from rnpc.report.evidence import Cut, Evidence, Step
from rnpc.report.svg import BLUE, GREEN, INK, MUTED, ORANGE, PINK, RULE, render
from rnpc.report.words import percent

WIDTH = 7.1
HEAT = LinearSegmentedColormap.from_list("heat", ["#f3f6f9", "#9ec9e2", "#2f7fb5", "#08306b"])
VOTES = (ORANGE, BLUE, GREEN)


def cuts_plot(evidence: Evidence, before: float | None, max_drop: float | None) -> str:
    """Judged accuracy with its interval over the cuts, and below it the success of inverted triggers; the chosen cut is marked.

    The line before cutting is the empty cut's where there is one: `before` may be over other images than the judged ones.
    """
    cuts, chosen = evidence.cuts, evidence.chosen
    before = next((c.accuracy for c in cuts if c.channels == 0), before)

    def draw(figure: Figure) -> None:
        success = any(c.success for c in cuts)
        axes = figure.subplots(2 if success else 1, 1, sharex=True, squeeze=False, height_ratios=[1.5, 1] if success else [1])[:, 0]
        accuracy_axis(axes[0], cuts, chosen, before, max_drop)
        if success:
            success_axis(axes[1], cuts, chosen, evidence.levels)
        name_cuts(axes[-1], cuts)

    return render("cuts", "Accuracy and the success of inverted triggers against the number of channels cut", (WIDTH, 4.0), draw)


def accuracy_axis(ax: Axes, cuts: Sequence[Cut], chosen: int | None, before: float | None, max_drop: float | None) -> None:
    """Accuracy over cuts, zoomed to where it happens."""
    x = np.arange(len(cuts))
    accuracy, low, high = (np.array([getattr(c, name) for c in cuts], float) for name in ("accuracy", "low", "high"))
    ax.fill_between(x, low, high, color=BLUE, alpha=0.14, linewidth=0, label="95 % interval")
    ax.plot(x, accuracy, "-o", color=BLUE, markersize=3.5, label="accuracy")
    if before is not None:
        ax.axhline(before, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label=f"before: {percent(before)}")
    if before is not None and max_drop is not None:
        ax.axhline(before - max_drop, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label=f"limit: {percent(before - max_drop)}")
    mark_chosen(ax, chosen)
    if chosen is not None:
        cut = cuts[chosen]
        bars = [[max(cut.accuracy - cut.low, 0)], [max(cut.high - cut.accuracy, 0)]]
        ax.errorbar([chosen], [cut.accuracy], yerr=bars, fmt="D", color=ORANGE, markersize=6, capsize=3, zorder=5, label="chosen")
    ax.set_title("Accuracy")
    ax.yaxis.set_major_formatter(percent_axis())
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=5, columnspacing=1.1, handlelength=1.6, borderaxespad=0.2)


def success_axis(ax: Axes, cuts: Sequence[Cut], chosen: int | None, levels: Mapping[str, float]) -> None:
    """Success of the strongest trigger of each form over cuts, 0 to 100 %, and the level that counts as natural."""
    forms = list(dict.fromkeys(form for cut in cuts for form in cut.success))
    for form, colour, mark in zip(forms, (PINK, BLUE, INK), "so^", strict=False):
        points = {i: cut.success[form] for i, cut in enumerate(cuts) if form in cut.success}
        ax.plot(list(points), list(points.values()), f"-{mark}", color=colour, markersize=3.5, label=form)
        if form in levels:
            ax.axhline(levels[form], color=colour, linewidth=0.9, linestyle=(0, (4, 3)), label=f"natural: {percent(levels[form])}")
    mark_chosen(ax, chosen)
    ax.set_title("Success of fresh triggers")
    ax.set_ylim(-0.06, 1.06)
    ax.set_yticks([0, 0.5, 1])
    ax.yaxis.set_major_formatter(percent_axis())
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=6, columnspacing=1.1, handlelength=1.6, borderaxespad=0.2)


def percent_axis() -> PercentFormatter:
    """Shares as `97 %`, with as many decimals as the range needs."""
    return PercentFormatter(1, symbol="\u00a0%")


def mark_chosen(ax: Axes, chosen: int | None) -> None:
    """A band behind the chosen cut."""
    if chosen is not None:
        ax.axvspan(chosen - 0.28, chosen + 0.28, color=ORANGE, alpha=0.09, linewidth=0)


def name_cuts(ax: Axes, cuts: Sequence[Cut]) -> None:
    """Channels cut and threshold under evenly spaced cuts, at most fourteen of them."""
    shown = range(0, len(cuts), -(-len(cuts) // 14))
    ax.set_xticks(list(shown), [f"{cuts[i].channels}\n{short(cuts[i].threshold)}" for i in shown])
    ax.set_xlim(-0.5, len(cuts) - 0.5)
    ax.set_xlabel("channels cut (below: threshold on the score)")


def short(value: float | None) -> str:
    """A threshold in three significant digits, empty where there is none."""
    return "" if value is None or not np.isfinite(value) else f"{value:.3g}"


def heat_map(evidence: Evidence) -> str:
    """Layer by channel: the score of each channel (or one minus its mask), and a mark over each that was pruned."""
    source, what = heat_values(evidence)
    sites = list(source)
    widest = max(len(source[s]) for s in sites)
    row = min(0.26, 7.4 / len(sites))

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.grid(False)
        scale = heat_scale(source)
        picture = None
        for y, site in enumerate(sites):
            values = np.clip(np.nan_to_num(source[site]) / scale, 0, 1) ** 0.5
            extent = (-0.5, len(values) - 0.5, y + 0.42, y - 0.24)
            picture = ax.imshow(values[None, :], cmap=HEAT, vmin=0, vmax=1, aspect="auto", extent=extent, interpolation="none")
            cut = evidence.pruned.get(site, [])
            ax.plot(cut, np.full(len(cut), y - 0.36), "v", color=ORANGE, markersize=min(4.0, row * 15), markeredgewidth=0, clip_on=False)
        ax.set_xlim(-1, widest)
        ax.set_ylim(len(sites) - 0.4, -0.7)
        ax.set_yticks(range(len(sites)), [tail(s) for s in sites], fontsize=min(7.5, row * 40))
        ax.tick_params(axis="y", length=0)
        ax.spines[["left"]].set_visible(False)
        ax.set_xlabel("channel")
        if picture is not None:
            ticks = np.array([0, 0.1, 0.25, 0.5, 1.0])
            bar = figure.colorbar(picture, ax=ax, location="top", anchor=(1.0, 0.0), shrink=0.42, aspect=34, pad=0.01)
            bar.set_ticks(list(ticks**0.5), labels=[short(float(t * scale)) for t in ticks])
            bar.set_label(what)
            bar.outline.set_visible(False)

    return render("heat", f"Heat map, layer by channel: {what}", (WIDTH, 1.1 + row * len(sites)), draw)


def heat_values(evidence: Evidence) -> tuple[dict[str, np.ndarray], str]:
    """What the heat map shows: the score where there is one, else one minus the mask."""
    if evidence.scores:
        return {s: np.asarray(v, float) for s, v in evidence.scores.items()}, "suspicion score"
    return {s: 1 - np.asarray(v, float) for s, v in evidence.masks.items()}, "1 - recovered mask"


def heat_scale(source: dict[str, np.ndarray]) -> float:
    """The largest finite value over all sites, 1 where nothing is positive."""
    everything = np.concatenate([np.asarray(v, float).ravel() for v in source.values()])
    finite = everything[np.isfinite(everything)]
    top = float(finite.max()) if len(finite) else 0.0
    return top if top > 0 else 1.0


def tail(name: str, length: int = 26) -> str:
    """The end of a long site name, which is what tells layers apart; dollar signs would start math."""
    name = name if len(name) <= length else "…" + name[1 - length :]
    return name.replace("$", r"\$")


def histogram(evidence: Evidence, threshold: float | None) -> str:
    """How many channels have which mask and which score, pruned channels apart, on a logarithmic count axis."""
    panels = [(name, values) for name, values in (("recovered mask", evidence.masks), ("suspicion score", evidence.scores)) if values]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (name, values) in zip(axes, panels, strict=True):
            kept, cut = split(values, evidence)
            top = 1.0 if name == "recovered mask" else max(float(np.max(np.concatenate([kept, cut]), initial=0.0)), 1e-12)
            bins = np.linspace(min(0.0, float(np.min(kept, initial=0.0))), top, 31)
            style = {"color": [RULE, ORANGE], "edgecolor": "white", "linewidth": 0.3, "label": ["kept", "pruned"]}
            ax.hist([kept, cut], bins=list(bins), stacked=True, **style)
            ax.set_yscale("log")
            ax.set_ylim(bottom=0.7)
            ax.set_xlabel(name)
            ax.grid(axis="x", visible=False)
            if threshold is not None and separates(threshold, kept, cut):
                ax.axvline(threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=f"threshold {short(threshold)}")
            ax.legend(loc="upper center" if name == "recovered mask" else "upper right")
        axes[0].set_ylabel("channels")

    return render("masks", "Histogram of " + " and ".join(name for name, _ in panels), (WIDTH, 2.2), draw)


def separates(threshold: float, kept: np.ndarray, cut: np.ndarray) -> bool:
    """Whether a threshold explains the cut: not so where a second ranking followed a first cut, nor on the masks of another method."""
    slack = 1e-5 * max(1.0, abs(threshold))
    return len(cut) > 0 and bool(np.all(cut >= threshold - slack) and np.all(kept <= threshold + slack))


def split(values: Mapping[str, np.ndarray], evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Values of kept and of pruned channels, all sites together; what is not finite is left out."""
    kept: list[np.ndarray] = [np.zeros(0)]
    cut: list[np.ndarray] = [np.zeros(0)]
    for site, row in values.items():
        gone = np.zeros(len(row), bool)
        gone[evidence.pruned.get(site, [])] = True
        finite = np.isfinite(row)
        kept.append(np.asarray(row, float)[~gone & finite])
        cut.append(np.asarray(row, float)[gone & finite])
    return np.concatenate(kept), np.concatenate(cut)


def course_plot(course: Sequence[Step], names: dict[int, str]) -> str:
    """Left: accuracy and loss while unlearning. Right: the share of images that votes each label, the three largest named."""
    steps = [s.step for s in course]
    votes = np.array([s.votes for s in course], float)
    most = list(np.argsort(-votes[-1], kind="stable")[:3])
    dot = "o" if len(course) == 1 else ""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        left.plot(steps, [s.accuracy for s in course], color=BLUE, marker=dot)
        left.set_title("Accuracy (line) and loss (dots)")
        left.set_ylim(-0.03, 1.03)
        left.yaxis.set_major_formatter(percent_axis())
        loss = left.twinx()
        loss.plot(steps, [s.loss for s in course], ":", color=MUTED)
        loss.spines["right"].set_visible(True)
        loss.grid(False)
        loss.set_ylabel("loss [nats]", color=MUTED)
        for label in busiest(votes, 40):
            right.plot(steps, votes[:, label], color="#b8c2cc", linewidth=0.7)
        for label, color in zip(most, VOTES, strict=False):
            right.plot(steps, votes[:, label], color=color, marker=dot, label=tail(names.get(int(label), f"label {label}")))
        right.set_title("Votes for each label")
        right.set_ylim(-0.03, 1.03)
        right.yaxis.set_major_formatter(percent_axis())
        right.legend(loc="upper left", title="largest at the end", title_fontsize=7.5, fontsize=7.5)
        for ax in (left, right):
            ax.set_xlabel("unlearning step")

    return render("course", "Course of unlearning: accuracy, loss and votes for each label", (WIDTH, 2.6), draw)


def busiest(votes: np.ndarray, most: int) -> list[int]:
    """The `most` labels with the largest share at any step; with a thousand classes the others are lines at zero."""
    return [int(i) for i in np.argsort(-votes.max(axis=0), kind="stable")[:most]]

"""The look of a report: one style sheet, and the pieces of HTML of a page. Every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root{--paper:#fbfaf7;--card:#fff;--ink:#1d2330;--faint:#667085;--rule:#e3e1da;--one:#2563a8;--two:#0f8a6d;
--bad:#d1491b;--mild:#e9a13b;--quiet:#b9bec9;--soft:#eef2f7;--wrong:#d1491b22;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--paper:#14171d;--card:#1c2028;--ink:#e6e8ee;--faint:#98a1b3;
--rule:#30363f;--one:#6ea8ea;--two:#4cc7a6;--bad:#ff7a4d;--mild:#f0b65a;--quiet:#59616f;--soft:#252b36;
--wrong:#ff7a4d33}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:36px 24px 60px}h1{font-size:30px;line-height:1.2;margin:0 0 6px}
h2{font-size:20px;margin:44px 0 4px}h3{font-size:15px;margin:0 0 8px}p{margin:6px 0;max-width:82ch}
.sub,.note{color:var(--faint)}.note{font-size:14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:24px 0 8px}
.tile,.card{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:14px 16px}
.tile b{display:block;font-size:25px;line-height:1.2;font-variant-numeric:tabular-nums}
.tile span{color:var(--faint);font-size:13.5px;line-height:1.35;display:block;margin-top:2px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:16px;margin-top:12px}
.card{overflow-x:auto}.card svg{display:block;width:100%;height:auto}svg text{fill:var(--ink);
font-size:12.5px}
svg text.label{fill:var(--faint);font-size:13px}svg text.faint{fill:var(--faint)}
svg text.value{font-size:11px;
font-family:ui-monospace,"DejaVu Sans Mono",monospace}.grid{stroke:var(--rule);fill:none}
.thin{stroke:var(--quiet);
stroke-dasharray:4 4;fill:none}.line{fill:none;stroke-width:2}.box{fill:none;stroke-width:1.4}
.wrong{fill:var(--wrong)}.wave text{font-family:ui-monospace,"DejaVu Sans Mono",monospace}
.legend{list-style:none;margin:12px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:6px 26px;font-size:14.5px}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:7px;
vertical-align:-1px}
table{border-collapse:collapse;width:100%;font-size:14.5px;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--faint);font-size:13px;vertical-align:bottom}th,td{text-align:right;
padding:7px 10px;
border-bottom:1px solid var(--rule)}th.l,td.l{text-align:left}tr:last-child td{border-bottom:0}
code,.mono{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.88em}
code{background:var(--soft);
padding:1px 5px;border-radius:4px;overflow-wrap:anywhere}.src{display:block;color:var(--faint);
font-size:13px;
max-width:33ch;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
td:not(.l){white-space:nowrap}td b{overflow-wrap:anywhere}
.meter{display:inline-block;width:54px;height:8px;background:var(--soft);border-radius:4px;
vertical-align:1px;
margin-right:8px;overflow:hidden}.meter i{display:block;height:100%;background:var(--bad)}
.good{color:var(--two)}.ill{color:var(--bad)}dl{display:grid;grid-template-columns:max-content 1fr;
gap:5px 22px;
margin:0;font-size:14.5px}dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
@media(max-width:560px){.pair{grid-template-columns:1fr}main{padding:20px 14px}
dl{grid-template-columns:1fr}}
@media print{.card,.tile{break-inside:avoid}}
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page that needs nothing else.

    >>> document("a < b", ["<p>x</p>"]).startswith("<!doctype html>")
    True
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><main>\n{chr(10).join(parts)}\n</main></body></html>\n"
    )


def section(title: str, text: str, *cards: str) -> str:
    """A heading, a sentence or two (plain text), and cards side by side."""
    inner = "".join(f'<div class="card">{card}</div>' for card in cards)
    inner = f'<div class="pair">{inner}</div>' if cards else ""
    return f"<section><h2>{escape(title)}</h2><p class='sub'>{escape(text)}</p>{inner}</section>"


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Large numbers, each with what it means."""
    inner = (f'<div class="tile"><b>{escape(v)}</b><span>{escape(text)}</span></div>' for v, text in facts)
    return f'<div class="tiles">{"".join(inner)}</div>'


def listing(facts: Sequence[tuple[str, str]]) -> str:
    """Names and values, one a line; empty values are left out."""
    inner = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts if value)
    return f"<dl>{''.join(inner)}</dl>"


def rows(header: Sequence[str], lines: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table of cells that are HTML already; the first ``left`` columns are aligned left."""
    kinds = [' class="l"' if i < left else "" for i in range(len(header))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(header, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(line, kinds, strict=True)) + "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def meter(share: float) -> str:
    """A short bar beside a share in per cent."""
    width = max(0.0, min(1.0, share)) * 100
    return f'<span class="meter"><i style="width:{width:.1f}%"></i></span>{share * 100:.1f} %'

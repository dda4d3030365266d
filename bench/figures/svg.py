"""How the pictures of what was measured look: one frame and one set of colours, in light and in
dark, and what is a round number on an axis. Pure functions.
"""

import html
import math

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 15px } .small { fill: #59636e; font-size: 12px }
  .a { fill: #0969da; stroke: #0969da } .b { fill: #bc4c00; stroke: #bc4c00 }
  .other { fill: #818b98 } .range { stroke: #1f2328; stroke-width: 1.5 }
  .line { fill: none; stroke-width: 2 } .label { stroke: none }
  .grid { stroke: #d1d9e0 } .limit { stroke: #cf222e; stroke-dasharray: 5 4; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 }
    .a { fill: #4493f8; stroke: #4493f8 } .b { fill: #db6d28; stroke: #db6d28 }
    .other { fill: #656c76 } .range { stroke: #f0f6fc }
    .grid { stroke: #3d444d } .limit { stroke: #f85149 }
  }
"""
HEAD = 44  # the last line of text that a picture begins with


def picture(width, height, title, subtitle, parts):
    """`parts` are elements; those above HEAD would stand in title and subtitle."""
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{html.escape(title)}">', f"<style>{STYLE}</style>",
            f'<text class="title" x="12" y="24">{html.escape(title)}</text>',
            f'<text class="small" x="12" y="{HEAD}">{html.escape(subtitle)}</text>']
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def step_of(highest):
    """1, 2 or 5 times a power of ten, for four to nine grid lines. Requires: highest > 0."""
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step for step in (power / 10, power / 5, power / 2, power, 2 * power)
                if highest / step <= 9)

"""Whether a page fits its window: nothing is wider or cut, and nothing leaves its card."""

from tests.console.conftest import Visit

WIDTHS = (360, 768, 1024, 1280)

# What is hidden for eyes, and what scrolls or clips by design: a text field, a list of options, a
# picture, and the titles of a table whose rows are cards.
MISFITS = """() => {
  const misfits = [];
  const name = (element) => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`;
  const excess = document.documentElement.scrollWidth - innerWidth;
  if (excess > 0) misfits.push(`the page is ${excess} px too wide`);
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest(".offscreen, .skip, svg, option, input, select, [hidden]")) continue;
    if (element.closest("thead") && element.closest("thead").clientWidth <= 1) continue;
    const { left, right, width } = element.getBoundingClientRect();
    if (!width) continue;
    if (right > innerWidth + 0.5 || left < -0.5) misfits.push(`outside: ${name(element)}`);
    const card = element.closest(".card");
    if (card && right > card.getBoundingClientRect().right + 0.5) misfits.push(`out of its card: ${name(element)}`);
    const isOpen = getComputedStyle(element).overflowX === "visible";
    if (!isOpen && element.scrollWidth > element.clientWidth) misfits.push(`cut: ${name(element)}`);
  }
  return misfits;
}"""


def fits(console: Visit, what: str, widths: tuple[int, ...] = WIDTHS) -> None:
    """Asserts that the open page fits at each width. Leaves the window at the last width."""
    for width in widths:
        console.page.set_viewport_size({"width": width, "height": 800})
        misfits = console.page.evaluate(MISFITS)
        assert misfits == [], (what, width, misfits[:5])

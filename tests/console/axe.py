"""The accessibility violations that axe-core finds on a page."""

from axe_playwright_python.sync_playwright import Axe

from tests.console.conftest import Visit


def judge(console: Visit, what: str) -> None:
    found = Axe().run(console.page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert serious == [], (what, [(v["id"], [n["html"][:150] for n in v["nodes"][:3]]) for v in serious])

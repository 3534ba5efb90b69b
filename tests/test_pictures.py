"""docs/screenshots.py: the data that it invents is complete."""

import importlib.util
from pathlib import Path

from postroom.db import Tx, migrate, open_database
from postroom.domains import commands as domains
from postroom.domains import dkim
from postroom.tenants import organizations

SCRIPT = Path(__file__).parent.parent / "docs" / "screenshots.py"


def test_every_domain_has_its_dkim_record(tmp_path: Path) -> None:
    """The server of the screenshots has no worker to create the DKIM keys."""
    spec = importlib.util.spec_from_file_location("screenshots", SCRIPT)
    assert spec
    assert spec.loader
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    url = f"sqlite:///{tmp_path / 'postroom.db'}"
    migrate(url)
    database = open_database(url)

    def work(tx: Tx) -> list[str]:
        pictures.make(tx)
        found = domains.get_all(tx, organizations.get(tx, pictures.ORGANIZATION))
        return [domain.name for domain in found if dkim.records(tx, domain.id)]

    assert {*pictures.DOMAINS, "brightpath.example"} <= set(database.write_sync(work))
    database.close()

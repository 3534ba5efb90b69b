"""All routes, gathered from the files of endpoints, which declare them (route.py).

The order means nothing; a path with a name in it gives way to one that is spelled out.
"""

from postroom.api.endpoints import (
    accounts,
    client_settings,
    dkim,
    domains,
    events,
    health,
    keys,
    limits,
    mailboxes,
    metrics,
    mta_sts,
    stats,
    verification,
)
from postroom.api.route import Route

FILES = (
    accounts,
    mailboxes,
    domains,
    verification,
    dkim,
    keys,
    events,
    limits,
    stats,
    client_settings,
    metrics,
    mta_sts,
    health,
)
ROUTES = tuple(value for file in FILES for value in vars(file).values() if isinstance(value, Route))

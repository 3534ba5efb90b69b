"""All routes, collected from the files in endpoints/, which declare them (route.py).

The order does not matter: a literal path goes before a path with a parameter.
"""

from postroom.api.endpoints import (
    accounts,
    aliases,
    app_passwords,
    availability,
    client_settings,
    delivery_rules,
    dkim,
    domains,
    events,
    health,
    keys,
    limits,
    mailboxes,
    me,
    metrics,
    mta_sts,
    sent_mail,
    setup_links,
    stats,
    users,
    verification,
    webhook_deliveries,
    webhooks,
)
from postroom.api.route import Route

FILES = (
    accounts,
    setup_links,
    me,
    aliases,
    app_passwords,
    delivery_rules,
    availability,
    users,
    mailboxes,
    sent_mail,
    domains,
    verification,
    dkim,
    keys,
    webhook_deliveries,
    webhooks,
    events,
    limits,
    stats,
    client_settings,
    metrics,
    mta_sts,
    health,
)
ROUTES = tuple(value for file in FILES for value in vars(file).values() if isinstance(value, Route))

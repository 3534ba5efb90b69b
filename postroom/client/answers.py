"""How each operation reads its answer: as a shape, or as the part of it that the caller wants."""

from postroom.client import shapes
from postroom.client.request import part_of, shape_of
from postroom.client.shape import Page

account = part_of(shapes.ShownAccount, lambda answer: answer.account)
deleted_account = part_of(shapes.DeletedAccount, lambda answer: answer.deleted)
account_with_password = shape_of(shapes.AccountWithPassword)
accounts = shape_of(Page[shapes.Account])
availability = shape_of(shapes.Availability)
user_progress = shape_of(shapes.UserProgress)
forwarding = part_of(shapes.ForwardingAnswer, lambda answer: answer.forwarding)
vacation = part_of(shapes.VacationAnswer, lambda answer: answer.vacation)
client_settings = shape_of(shapes.ClientSettings)
domain = shape_of(shapes.DomainInfo)
usage = shape_of(shapes.Usage)
sessions = part_of(shapes.OpenSessions, lambda answer: answer.sessions)
created_domain = part_of(shapes.CreatedDomain, lambda answer: answer.domain)
deleted_domain = part_of(shapes.DeletedDomain, lambda answer: answer.deleted)
domains = shape_of(Page[shapes.Domain])
checked = shape_of(shapes.DomainChecked)
route = part_of(shapes.RouteSet, lambda answer: answer.route)
consent = part_of(shapes.Consent, lambda answer: answer.subdomain)
dkim = shape_of(shapes.DomainKeys)
key = shape_of(shapes.KeyWithSecret)
keys = shape_of(Page[shapes.Key])
deleted_key = part_of(shapes.DeletedKey, lambda answer: answer.deleted)
events = shape_of(Page[shapes.Event])
limits = shape_of(shapes.Limits)
stats = shape_of(shapes.Stats)
alive = part_of(shapes.Alive, lambda answer: answer.status)
readiness = shape_of(shapes.Readiness)

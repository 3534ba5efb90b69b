"""The fault suite: after each fault, everything that Postroom acknowledged is compared with the
truth."""

"""The fault suite: what Postroom promised is compared with the truth after each fault."""

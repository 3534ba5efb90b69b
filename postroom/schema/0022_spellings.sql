-- How people write an internationalized domain where a mail client logs in: its U-labels (RFC 5890), in capitals and as
-- other systems decompose them, beside the A-labels of `name`. What a spelling means is the same for everybody, so a
-- row stays when a domain goes.
CREATE TABLE domain_spellings (
  spelling TEXT PRIMARY KEY,
  name     TEXT NOT NULL
);

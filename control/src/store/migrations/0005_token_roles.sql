-- What a token may do: everything, or read metrics, which a scraper needs and no more.
ALTER TABLE tokens ADD COLUMN role TEXT NOT NULL DEFAULT 'admin' CHECK (role IN ('admin', 'metrics'));

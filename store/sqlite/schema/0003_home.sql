-- Where the file was when it was last opened: a copy of it is somewhere else.
ALTER TABLE meta ADD COLUMN home TEXT NOT NULL DEFAULT '';

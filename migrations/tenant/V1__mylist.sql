-- The list of one tenant. Names stand without a schema: search_path decides, so the same file makes every tenant's own table.
CREATE TABLE mylist (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text varchar(255) NOT NULL CHECK (text <> ''),
    checkbox boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE mylist IS 'Things to do.';
COMMENT ON COLUMN mylist.id IS 'Given by the database, never reused.';
COMMENT ON COLUMN mylist.text IS 'What to do, in one line.';
COMMENT ON COLUMN mylist.checkbox IS 'Whether it is done.';
COMMENT ON COLUMN mylist.created IS 'When it was written down.';

-- The list that every tenant reads. Names stand without a schema: search_path decides where this goes.
CREATE TABLE beforeidie (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text varchar(255) NOT NULL CHECK (text <> ''),
    checkbox boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now(),
    due date,
    tags text[] NOT NULL DEFAULT '{}',
    details jsonb NOT NULL DEFAULT '{}'
);

-- "Which of them carry this tag?" (tags @> '{viagem}').
CREATE INDEX beforeidie_tags ON beforeidie USING gin (tags);

COMMENT ON TABLE beforeidie IS 'Things to do before I die.';
COMMENT ON COLUMN beforeidie.id IS 'Given by the database, never reused.';
COMMENT ON COLUMN beforeidie.text IS 'What to do, in one line.';
COMMENT ON COLUMN beforeidie.checkbox IS 'Whether it is done.';
COMMENT ON COLUMN beforeidie.created IS 'When it was written down.';
COMMENT ON COLUMN beforeidie.due IS 'The day it should be done by, if there is one.';
COMMENT ON COLUMN beforeidie.tags IS 'Words to find it by.';
COMMENT ON COLUMN beforeidie.details IS 'Whatever else belongs to it: places, prices, links.';

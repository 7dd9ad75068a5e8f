-- A second step, as a growing product takes it. Every new column may be NULL or has a constant default: Postgres then
-- rewrites no row, so the step costs a tenant with many rows no more than one with few, but for the two indexes.
ALTER TABLE mylist
    ADD COLUMN due date,
    ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN details jsonb NOT NULL DEFAULT '{}';

-- "What is next?" asks for open rows by their day; done ones pile up and need no entry.
CREATE INDEX mylist_due ON mylist (due) WHERE NOT checkbox;
-- "Which of them carry this tag?" (tags @> '{casa}').
CREATE INDEX mylist_tags ON mylist USING gin (tags);

COMMENT ON COLUMN mylist.due IS 'The day it should be done by, if there is one.';
COMMENT ON COLUMN mylist.tags IS 'Words to find it by.';
COMMENT ON COLUMN mylist.details IS 'Whatever else belongs to it: places, prices, links.';

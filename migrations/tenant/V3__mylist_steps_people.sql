-- A third step: what a thing to do takes, and who it is done with. All of it is new, so no row of mylist is touched.
CREATE TABLE steps (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item bigint NOT NULL REFERENCES mylist ON DELETE CASCADE,
    text varchar(255) NOT NULL CHECK (text <> ''),
    done boolean NOT NULL DEFAULT false
);
-- Steps are looked up by their item, and a delete of the item looks them up too.
CREATE INDEX steps_item ON steps (item);

-- Known by name, so that writing the same person twice is one person.
CREATE TABLE people (
    name text PRIMARY KEY CHECK (name <> ''),
    phone text
);
CREATE TABLE mylist_people (
    item bigint REFERENCES mylist ON DELETE CASCADE,
    person text REFERENCES people ON UPDATE CASCADE ON DELETE CASCADE,
    PRIMARY KEY (item, person)
);
CREATE INDEX mylist_people_person ON mylist_people (person);

-- "What is next?": it returns rows of mylist, so all that works on mylist works on its result. The body is parsed here
-- and now, and holds on to this schema's mylist whatever the caller's search_path is.
CREATE FUNCTION upcoming(days integer DEFAULT 7) RETURNS SETOF mylist LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM mylist WHERE NOT checkbox AND due < current_date + days;
END;

COMMENT ON TABLE steps IS 'What a thing to do takes.';
COMMENT ON COLUMN steps.id IS 'Given by the database, never reused.';
COMMENT ON COLUMN steps.item IS 'The thing to do.';
COMMENT ON COLUMN steps.text IS 'What to do, in one line.';
COMMENT ON COLUMN steps.done IS 'Whether it is done.';
COMMENT ON TABLE people IS 'Who things are done with.';
COMMENT ON COLUMN people.name IS 'Told apart by this.';
COMMENT ON COLUMN people.phone IS 'As it is dialled.';
COMMENT ON TABLE mylist_people IS 'Who does what.';
COMMENT ON FUNCTION upcoming IS 'Open things that are overdue, or due within so many days.';

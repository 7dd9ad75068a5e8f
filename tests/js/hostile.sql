-- Tables of the tenant `odd` whose every name, comment, label, default and constraint is one of the texts of hostile.json,
-- which is in the setting `test.corpus`. Each tries to be a script, or to be more than a name.
SET search_path = odd;
DO $do$
DECLARE
    corpus text[] := ARRAY(SELECT jsonb_array_elements_text(current_setting('test.corpus')::jsonb));
    names text[] := ARRAY(SELECT name FROM unnest(corpus) AS name WHERE octet_length(name) <= 63);
    mood text := names[5];
    wide text := names[1];
    keyed text := names[2];
    pairs text := names[3];
    name text;
BEGIN
    -- Every name a table, with a row.
    FOREACH name IN ARRAY names[6:] LOOP
        EXECUTE format('CREATE TABLE %I (%1$I text PRIMARY KEY DEFAULT %1$L)', name);
        EXECUTE format('COMMENT ON TABLE %I IS %1$L', name);
        EXECUTE format('INSERT INTO %I VALUES (%1$L)', name);
    END LOOP;
    -- Every name a column, with itself as value, default and comment.
    EXECUTE format('CREATE TABLE %I (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)', wide);
    FOREACH name IN ARRAY names LOOP
        EXECUTE format('ALTER TABLE %I ADD %I text DEFAULT %2$L', wide, name);
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %2$L', wide, name);
    END LOOP;
    EXECUTE format('INSERT INTO %I DEFAULT VALUES', wide);
    -- Every text a key, an item, a word of JSON, a label; a constraint that tells its name.
    EXECUTE format('CREATE TYPE %I AS ENUM (%s)', mood, (SELECT string_agg(quote_literal(label), ',') FROM unnest(names) AS label));
    EXECUTE format('CREATE TABLE %I (%I text PRIMARY KEY, mood %I, items text[] NOT NULL DEFAULT ''{}'', doc jsonb,
        n int CONSTRAINT %I CHECK (n < 9), wide bigint CONSTRAINT %I REFERENCES %I, bytes bytea)', keyed, names[7], mood, names[8], names[9], wide);
    FOREACH name IN ARRAY corpus LOOP
        EXECUTE format('INSERT INTO %I VALUES ($1, NULL, ARRAY[$1], jsonb_build_object($1, $1), 1, 1, $2)', keyed)
            USING name, convert_to(name, 'UTF8');
    END LOOP;
    EXECUTE format('UPDATE %I SET mood = %I::%I WHERE octet_length(%2$I) <= 63', keyed, names[7], mood);
    -- What refers to such a key, and a view of it all.
    EXECUTE format('CREATE TABLE %I (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, %I text REFERENCES %I)', pairs, names[10], keyed);
    EXECUTE format('INSERT INTO %I (%I) SELECT %I FROM %I', pairs, names[10], names[7], keyed);
    EXECUTE format('CREATE VIEW %I AS SELECT * FROM %I', names[4], keyed);
    EXECUTE format('COMMENT ON VIEW %I IS %1$L', names[4]);
END $do$;
GRANT ALL ON ALL TABLES IN SCHEMA odd TO rowhouse_odd_user;
GRANT SELECT ON ALL TABLES IN SCHEMA odd TO rowhouse_odd_anon;
NOTIFY rowhouse;

-- The terms of metadata: what a GIN index finds ranges and fields by, which jsonb_path_ops does not support.
-- service/search/terms.py has the terms of a filter. A term is the path of a field, the character 1, and
--   nothing                   for the field itself, whatever its value,
--   a                         for an array,
--   n and 2, 4 or 6 digits    for a number: the first hexadecimal digits of its float8, which are made to be in the
--                             order of the numbers,
--   d, m or y, and the start  of a text that starts with a day, a month or a year: century, year, month, day,
--   s                         for another text.
-- So a range matches few terms, and a number has three. Metadata that are not an object have one term, without a path.
-- Paths of more than five steps or 100 characters have no terms: keys of an index are limited to 2,704 bytes, and a range may
-- have 1,300 terms.
CREATE FUNCTION metadata_terms(metadata jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    WITH RECURSIVE field (path, value, steps) AS (
        SELECT key, value, 1
          FROM jsonb_each(CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata ELSE '{}' END)
         UNION ALL
        SELECT field.path || '.' || inner_field.key, inner_field.value, steps + 1
          FROM field
         CROSS JOIN jsonb_each(CASE jsonb_typeof(field.value) WHEN 'object' THEN field.value ELSE '{}' END)
            AS inner_field
         WHERE steps < 5
    )
    SELECT CASE jsonb_typeof(metadata) WHEN 'object' THEN coalesce(array_agg(path || e'\x01' || term), '{}')
                                       ELSE ARRAY[e'\x01'] END
      FROM field
     CROSS JOIN jsonb_typeof(value) AS kind
     CROSS JOIN left(value #>> '{}', 10) AS start
      -- Beyond these limits float8 has no number.
     CROSS JOIN LATERAL (
           SELECT encode(float8send(CASE WHEN kind <> 'number' THEN 0
                                         WHEN abs(value::numeric) < 1e-300 THEN 0
                                         ELSE least(greatest(value::numeric, -1e300), 1e300)::float8 END), 'hex')
           ) AS number (digits)
     CROSS JOIN LATERAL (
           SELECT CASE WHEN left(digits, 1) < '8' THEN translate(left(digits, 1), '01234567', '89abcdef') || substr(digits, 2, 5)
                       ELSE translate(left(digits, 6), '0123456789abcdef', 'fedcba9876543210') END
           ) AS ordered (code)
     CROSS JOIN unnest(CASE kind
           WHEN 'array' THEN ARRAY['', 'a']
           WHEN 'number' THEN ARRAY['', 'n' || left(code, 2), 'n' || left(code, 4), 'n' || code]
           WHEN 'string' THEN
               CASE WHEN start ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
                    THEN ARRAY['', 'd' || left(start, 2), 'd' || left(start, 4), 'd' || left(start, 7), 'd' || start]
                    WHEN start ~ '^[0-9]{4}-(0[1-9]|1[0-2])'
                    THEN ARRAY['', 'm' || left(start, 2), 'm' || left(start, 4), 'm' || left(start, 7)]
                    WHEN start ~ '^[0-9]{4}' THEN ARRAY['', 'y' || left(start, 2), 'y' || left(start, 4)]
                    ELSE ARRAY['', 's'] END
           ELSE ARRAY['']
           END) AS term
     WHERE length(path) <= 100
$$;

ALTER TABLE project_indexes
    -- Equal to the watermark if the index embeddings_{project_id}_terms_{watermark} exists, a GIN index of the terms of
    -- the same rows. An older version, which may still run, changes the watermark only.
    ADD COLUMN terms_watermark bigint;

-- The one way into the audit.
SELECT set_config('role', current_schema() || '_owner', true);

-- What a row says, in one fixed form, chained to the row before it. Absent values are left out, so that a column added
-- later changes no hash.
CREATE FUNCTION audit_hash(entry audit) RETURNS bytea
    LANGUAGE sql STABLE SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
    SELECT sha256(entry.prev_hash || convert_to(jsonb_object_agg(member.key, member.value)::text, 'UTF8'))
    FROM jsonb_each(to_jsonb(entry) - 'prev_hash' - 'row_hash') AS member
    WHERE member.value <> 'null'::jsonb
$$;

-- Appends rows in the order given, all or none. `entries` is an array of objects whose members are named as columns;
-- "outbox" is the message an outcome is to be published as; phase "published" takes it out again.
--
-- For each entry, in order: what it found.
--   new       the row was added, and nobody has taken up this message before
--   open      an intent was added, but an earlier one was never closed: its writes may have been done
--   closed    the message has ended; nothing was added. entry_message is what is still to be published, or null
--   published
-- The same entry again (its answer was lost) finds the same, and adds nothing.
CREATE FUNCTION append_audit(entries jsonb)
    RETURNS TABLE (entry_number integer, entry_state text, entry_attempt integer, entry_message text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    element jsonb;
    entry audit;
    head chain_heads;
    own_attempt integer;
    last_attempt integer;
BEGIN
    -- All chains are locked in one order, so that two workers cannot lock each other out.
    INSERT INTO chain_heads (topic, topic_partition)
        SELECT DISTINCT e ->> 'topic', (e ->> 'topic_partition')::integer
        FROM jsonb_array_elements(entries) AS e ORDER BY 1, 2
        ON CONFLICT DO NOTHING;
    PERFORM 1 FROM chain_heads AS h
        WHERE (h.topic, h.topic_partition) IN
              (SELECT e ->> 'topic', (e ->> 'topic_partition')::integer FROM jsonb_array_elements(entries) AS e)
        ORDER BY h.topic, h.topic_partition FOR UPDATE;

    entry_number := -1;
    FOR element IN SELECT e FROM jsonb_array_elements(entries) WITH ORDINALITY AS t (e, n) ORDER BY n LOOP
        entry_number := entry_number + 1;
        entry_message := NULL;
        entry := jsonb_populate_record(NULL::audit, element);

        IF entry.phase = 'published' THEN
            DELETE FROM outbox AS o
                WHERE o.topic = entry.topic AND o.topic_partition = entry.topic_partition
                  AND o.topic_offset = entry.topic_offset AND o.message_time = entry.message_time;
            entry_state := 'published';
            entry_attempt := 0;
            RETURN NEXT;
            CONTINUE;
        END IF;

        SELECT a.attempt INTO entry_attempt FROM audit AS a
            WHERE a.message_time = entry.message_time AND a.topic = entry.topic
              AND a.topic_partition = entry.topic_partition AND a.topic_offset = entry.topic_offset
              AND a.phase <> 'intent';
        IF FOUND THEN
            SELECT o.message INTO entry_message FROM outbox AS o
                WHERE o.topic = entry.topic AND o.topic_partition = entry.topic_partition
                  AND o.topic_offset = entry.topic_offset AND o.message_time = entry.message_time;
            entry_state := 'closed';
            RETURN NEXT;
            CONTINUE;
        END IF;

        SELECT max(a.attempt) FILTER (WHERE a.delivery = entry.delivery), max(a.attempt)
            INTO own_attempt, last_attempt FROM audit AS a
            WHERE a.message_time = entry.message_time AND a.topic = entry.topic
              AND a.topic_partition = entry.topic_partition AND a.topic_offset = entry.topic_offset
              AND a.phase = 'intent';
        IF entry.phase = 'intent' THEN
            entry.attempt := coalesce(own_attempt, last_attempt + 1, 1);
        ELSE
            entry.attempt := coalesce(own_attempt, last_attempt, 1);
        END IF;
        entry_attempt := entry.attempt;
        entry_state := CASE WHEN entry.phase = 'intent' AND entry.attempt > 1 THEN 'open' ELSE 'new' END;

        IF entry.phase <> 'intent' OR own_attempt IS NULL THEN
            SELECT h.* INTO STRICT head FROM chain_heads AS h
                WHERE h.topic = entry.topic AND h.topic_partition = entry.topic_partition;
            entry.chain_number := head.length + 1;
            entry.prev_hash := head.hash;
            entry.created_at := clock_timestamp();
            entry.row_hash := audit_hash(entry);
            INSERT INTO audit SELECT entry.*;
            UPDATE chain_heads AS h SET length = entry.chain_number, hash = entry.row_hash
                WHERE h.topic = entry.topic AND h.topic_partition = entry.topic_partition;
            IF element ? 'outbox' THEN
                INSERT INTO outbox (message_time, topic, topic_partition, topic_offset, message)
                    VALUES (entry.message_time, entry.topic, entry.topic_partition, entry.topic_offset,
                            element ->> 'outbox');
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION append_audit(jsonb), audit_hash(audit) FROM PUBLIC;

-- The first row of each chain that is not as it was written: changed, missing, or not there at the end. No row: all is
-- well. `since`: older rows are taken as they are, for chains whose first months were put away.
CREATE FUNCTION verify_audit(since timestamptz DEFAULT '-infinity')
    RETURNS TABLE (topic text, topic_partition integer, chain_number bigint, problem text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
    WITH chained AS (
        SELECT a.topic, a.topic_partition, a.chain_number, a.prev_hash, a.row_hash, audit_hash(a) AS real_hash,
               lag(a.row_hash) OVER chain AS before_hash, lag(a.chain_number) OVER chain AS before_number
        FROM audit AS a WHERE a.created_at >= since
        WINDOW chain AS (PARTITION BY a.topic, a.topic_partition ORDER BY a.chain_number)
    ), judged AS (
        SELECT c.topic, c.topic_partition, c.chain_number,
               CASE
                   WHEN c.row_hash <> c.real_hash THEN 'the row was changed'
                   WHEN c.before_number IS NULL AND since > '-infinity' THEN NULL
                   WHEN c.chain_number <> coalesce(c.before_number, 0) + 1 THEN 'rows before it are missing'
                   WHEN c.prev_hash <> coalesce(c.before_hash, decode(repeat('00', 32), 'hex'))
                       THEN 'it does not follow from the row before it'
               END AS problem
        FROM chained AS c
        UNION ALL
        SELECT h.topic, h.topic_partition, h.length, 'rows at the end are missing'
        FROM chain_heads AS h
        LEFT JOIN (SELECT c.topic, c.topic_partition, max(c.chain_number) AS length
                   FROM chained AS c GROUP BY 1, 2) AS l USING (topic, topic_partition)
        WHERE h.length > 0 AND (l.length < h.length OR l.length IS NULL AND since = '-infinity')
    )
    SELECT DISTINCT ON (j.topic, j.topic_partition) j.topic, j.topic_partition, j.chain_number, j.problem
    FROM judged AS j WHERE j.problem IS NOT NULL
    ORDER BY j.topic, j.topic_partition, j.chain_number
$$;
REVOKE ALL ON FUNCTION verify_audit(timestamptz) FROM PUBLIC;

DO $$
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION append_audit(jsonb) TO %I', current_schema() || '_pusher');
    EXECUTE format('GRANT EXECUTE ON FUNCTION verify_audit(timestamptz) TO %I, %I', current_schema() || '_pusher',
                   current_schema() || '_reader');
END
$$;

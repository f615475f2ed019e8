-- What is asked at night: the failures of the last 24 hours, the dead letters, and which of them were driven again.
SELECT set_config('role', current_schema() || '_owner', true);

-- Where the message of a dead letter came from (phases dead-letter, redriven); the row's own coordinates are the letter's.
ALTER TABLE audit ADD COLUMN origin_topic text, ADD COLUMN origin_partition integer, ADD COLUMN origin_offset bigint;

-- A person has driven a dead letter again: a row for each time. It ends nothing.
ALTER TABLE audit DROP CONSTRAINT audit_phase_check;
ALTER TABLE audit ADD CONSTRAINT audit_phase_check
    CHECK (phase IN ('intent', 'outcome', 'none', 'dead-letter', 'redriven'));
DROP INDEX audit_one_end;
CREATE UNIQUE INDEX audit_one_end ON audit (message_time, topic, topic_partition, topic_offset)
    WHERE phase NOT IN ('intent', 'redriven');
CREATE INDEX audit_redriven ON audit (origin_topic, origin_partition, origin_offset) WHERE phase = 'redriven';

-- As in 003_append.sql, and beside it: each redriven entry is added, numbered by attempt.
CREATE OR REPLACE FUNCTION append_audit(entries jsonb)
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
              AND a.phase NOT IN ('intent', 'redriven') AND entry.phase <> 'redriven';
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
              AND a.phase = CASE WHEN entry.phase = 'redriven' THEN 'redriven' ELSE 'intent' END;
        IF entry.phase IN ('intent', 'redriven') THEN
            entry.attempt := coalesce(own_attempt, last_attempt + 1, 1);
        ELSE
            entry.attempt := coalesce(own_attempt, last_attempt, 1);
        END IF;
        entry_attempt := entry.attempt;
        entry_state := CASE WHEN entry.phase = 'intent' AND entry.attempt > 1 THEN 'open' ELSE 'new' END;

        IF entry.phase NOT IN ('intent', 'redriven') OR own_attempt IS NULL THEN
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

-- Everything that was set aside, by whom and why, and when a person has last driven it again (tandem-pusher redrive).
-- A letter of the pusher has no row of its own: it is the row of the message that it could not carry out.
CREATE VIEW dead_letters AS
    SELECT a.created_at, coalesce(CASE WHEN a.phase = 'dead-letter' THEN a.reason END, 'pusher') AS set_aside_by,
           a.error_code, a.error_message, a.status, a.deal_key, a.referral_id, a.crm_id, a.system, a.record_id,
           a.decision_id, a.action, a.purpose, a.trace_id, a.detail,
           coalesce(a.origin_topic, a.topic) AS origin_topic,
           coalesce(a.origin_partition, a.topic_partition) AS origin_partition,
           coalesce(a.origin_offset, a.topic_offset) AS origin_offset,
           r.redriven_at, r.redriven_times, a.topic, a.topic_partition, a.topic_offset
    FROM audit AS a
    CROSS JOIN LATERAL (
        SELECT max(created_at) AS redriven_at, count(*) AS redriven_times
        FROM (SELECT m.created_at FROM audit AS m
              WHERE m.phase = 'redriven' AND m.message_time = a.message_time AND m.topic = a.topic
                AND m.topic_partition = a.topic_partition AND m.topic_offset = a.topic_offset
              UNION ALL
              SELECT m.created_at FROM audit AS m
              WHERE m.phase = 'redriven' AND m.origin_topic = a.topic AND m.origin_partition = a.topic_partition
                AND m.origin_offset = a.topic_offset AND m.created_at >= a.created_at) AS again) AS r
    WHERE a.phase = 'dead-letter' OR a.phase = 'outcome' AND a.result = 'refused'
    ORDER BY a.created_at;

-- What was refused, set aside or gone in the last 24 hours, whatever the calendar says.
CREATE VIEW recent_failures AS
    SELECT a.created_at, a.deal_key, a.referral_id, a.crm_id, a.phase, a.direction, a.system, a.action, a.purpose,
           a.result, a.reason, a.status, a.error_class, a.error_code, a.error_message, a.calls, a.topic,
           a.topic_partition, a.topic_offset, a.record_id, a.detail, a.trace_id, r.redriven_at
    FROM audit AS a
    CROSS JOIN LATERAL (
        SELECT max(created_at) AS redriven_at
        FROM (SELECT m.created_at FROM audit AS m
              WHERE m.phase = 'redriven' AND m.message_time = a.message_time AND m.topic = a.topic
                AND m.topic_partition = a.topic_partition AND m.topic_offset = a.topic_offset
              UNION ALL
              SELECT m.created_at FROM audit AS m
              WHERE m.phase = 'redriven' AND m.origin_topic = a.topic AND m.origin_partition = a.topic_partition
                AND m.origin_offset = a.topic_offset AND m.created_at >= a.created_at) AS again) AS r
    WHERE a.created_at >= now() - interval '24 hours'
      AND (a.phase = 'dead-letter' OR a.result IN ('refused', 'gone'))
    ORDER BY a.created_at;

-- Under its former name, with its former columns.
CREATE OR REPLACE VIEW failures_today AS
    SELECT created_at, deal_key, referral_id, crm_id, phase, direction, system, action, purpose, result, reason, status,
           error_class, error_code, error_message, calls, topic, topic_partition, topic_offset, record_id, detail
    FROM recent_failures
    ORDER BY created_at;

DO $$
DECLARE
    view_name text;
BEGIN
    FOREACH view_name IN ARRAY ARRAY['dead_letters', 'recent_failures'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO %I, %I', view_name, current_schema() || '_pusher',
                       current_schema() || '_reader');
    END LOOP;
END
$$;

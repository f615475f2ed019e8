-- The audit: one row before a decision is carried out (intent) and one for what came of it (outcome); one for a
-- decision to do nothing (none), and one for a message that was set aside unread (dead-letter). Rows are added, never
-- changed.
SELECT set_config('role', current_schema() || '_owner', true);

CREATE TABLE audit (
    -- Which message of Kafka this is about. The time stands in the key because it is the partition key, never changes
    -- for a message, and tells a topic that was made anew from the one whose offsets it repeats.
    message_time     timestamptz NOT NULL,
    topic            text        NOT NULL,
    topic_partition  integer     NOT NULL,
    topic_offset     bigint      NOT NULL,
    phase            text        NOT NULL CHECK (phase IN ('intent', 'outcome', 'none', 'dead-letter')),
    attempt          integer     NOT NULL CHECK (attempt > 0), -- the how-many-th worker took it up
    delivery         uuid        NOT NULL,                     -- of that worker: names the taking-up

    deal_key         text,
    referral_id      text,
    crm_system       text,
    crm_id           text,
    decision_id      text,
    decision_number  bigint,
    direction        text CHECK (direction IN ('to-crm', 'to-partner-center')),
    target           text,
    system           text,
    record_type      text,
    record_id        text,
    action           text,
    purpose          text,
    result           text CHECK (result IN ('applied', 'conflict', 'refused', 'gone', 'superseded')),
    reason           text,
    detail           text,
    fields           jsonb,
    conflicts        jsonb,
    causes           jsonb,
    rules_version    text,

    calls            integer, -- how often the target was asked, over all repeats of this attempt
    status           integer, -- of the target's last answer
    is_certain       boolean,
    was_in_doubt     boolean, -- an earlier call's fate was unknown; the result was judged by reading the record
    error_class      text,
    error_code       text,
    error_message    text,

    received_at      timestamptz, -- the earliest cause reached us
    occurred_at      timestamptz, -- it happened at its system
    decided_at       timestamptz,
    started_at       timestamptz,
    finished_at      timestamptz,
    duration_ms      bigint,
    trace_id         text,
    instance         text,

    chain_number     bigint      NOT NULL, -- 1, 2, 3 ... within (topic, topic_partition)
    prev_hash        bytea       NOT NULL,
    row_hash         bytea       NOT NULL,
    created_at       timestamptz NOT NULL,
    PRIMARY KEY (message_time, topic, topic_partition, topic_offset, phase, attempt)
) PARTITION BY RANGE (message_time);

-- A message ends once, whoever ends it.
CREATE UNIQUE INDEX audit_one_end ON audit (message_time, topic, topic_partition, topic_offset)
    WHERE phase <> 'intent';
CREATE INDEX audit_deal ON audit (deal_key, created_at);
CREATE INDEX audit_created ON audit (created_at);
CREATE INDEX audit_chain ON audit (topic, topic_partition, chain_number);

-- Nothing is ever refused for want of a month's partition.
CREATE TABLE audit_default PARTITION OF audit DEFAULT;

-- The newest row of each chain. Locked while rows are appended, so that a chain never forks.
CREATE TABLE chain_heads (
    topic            text    NOT NULL,
    topic_partition  integer NOT NULL,
    length           bigint  NOT NULL DEFAULT 0,
    hash             bytea   NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    PRIMARY KEY (topic, topic_partition)
);

-- Outcomes that are not yet known to be in Kafka, as they are to be published. Gone as soon as they are.
CREATE TABLE outbox (
    message_time     timestamptz NOT NULL,
    topic            text        NOT NULL,
    topic_partition  integer     NOT NULL,
    topic_offset     bigint      NOT NULL,
    message          text        NOT NULL,
    PRIMARY KEY (topic, topic_partition, topic_offset, message_time)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is only ever added to' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit_default FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- ALWAYS: also for a session that says it is a replica.
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_no_change;
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_no_truncate;
ALTER TABLE audit_default ENABLE ALWAYS TRIGGER audit_no_change;
ALTER TABLE audit_default ENABLE ALWAYS TRIGGER audit_no_truncate;

-- Makes the partitions of this month and `months_ahead` more; returns how many were missing. A month that has rows in
-- the default partition already stays there.
CREATE FUNCTION ensure_partitions(months_ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    month timestamptz;
    partition_name text;
    made integer := 0;
BEGIN
    -- One worker at a time.
    PERFORM pg_advisory_xact_lock(hashtext(current_schema() || '.ensure_partitions'));
    FOR k IN 0..least(months_ahead, 120) LOOP
        month := date_trunc('month', now()) + make_interval(months => k);
        partition_name := 'audit_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass(quote_ident(current_schema()) || '.' || quote_ident(partition_name)) IS NOT NULL;
        BEGIN
            -- Made beside the table and then attached: that locks out no reader and no writer for long.
            EXECUTE format('CREATE TABLE %I (LIKE audit INCLUDING ALL)', partition_name);
            EXECUTE format('ALTER TABLE audit ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition_name, month,
                           month + interval '1 month');
            EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audit_no_change', partition_name);
            EXECUTE format('CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                           'EXECUTE FUNCTION refuse_change()', partition_name);
            EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audit_no_truncate', partition_name);
            made := made + 1;
        EXCEPTION
            WHEN check_violation THEN
                NULL;
        END;
    END LOOP;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION ensure_partitions(integer), refuse_change() FROM PUBLIC;

DO $$
BEGIN
    EXECUTE format('GRANT SELECT ON audit TO %I, %I', current_schema() || '_pusher', current_schema() || '_reader');
    EXECUTE format('GRANT SELECT ON chain_heads TO %I, %I', current_schema() || '_pusher',
                   current_schema() || '_reader');
    EXECUTE format('GRANT EXECUTE ON FUNCTION ensure_partitions(integer) TO %I', current_schema() || '_pusher');
    PERFORM ensure_partitions(2);
END
$$;

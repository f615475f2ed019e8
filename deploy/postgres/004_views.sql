-- The operators' questions.
SELECT set_config('role', current_schema() || '_owner', true);

-- What happened to a deal, in order: WHERE deal_key = '...'.
CREATE VIEW deal_timeline AS
    SELECT deal_key, created_at, phase, attempt, action, purpose, direction, system, result, reason, detail, fields,
           conflicts, causes, rules_version, calls, status, is_certain, was_in_doubt, error_code, error_message,
           occurred_at, received_at, decided_at, started_at, finished_at, duration_ms, referral_id, crm_id,
           decision_id, trace_id, topic, topic_partition, topic_offset
    FROM audit
    ORDER BY deal_key, created_at, chain_number;

-- Intents that nobody has closed yet: being carried out just now, or left by a worker that died and not yet taken up.
CREATE VIEW open_intents AS
    SELECT i.deal_key, i.decision_id, i.system, i.record_type, i.record_id, i.action, i.attempt, i.started_at,
           now() - i.created_at AS age, i.instance, i.topic, i.topic_partition, i.topic_offset
    FROM audit AS i
    WHERE i.phase = 'intent'
      AND NOT EXISTS (SELECT FROM audit AS e
                      WHERE e.message_time = i.message_time AND e.topic = i.topic
                        AND e.topic_partition = i.topic_partition AND e.topic_offset = i.topic_offset
                        AND (e.phase <> 'intent' OR e.attempt > i.attempt));

-- Where every deal stands: its last decision that was to change something.
CREATE VIEW deal_status AS
    SELECT DISTINCT ON (deal_key)
           deal_key, referral_id, crm_system, crm_id, purpose, direction,
           CASE WHEN phase = 'intent' THEN 'in progress' ELSE result END AS status,
           reason, error_code, error_message, created_at AS since, decision_id
    FROM audit
    WHERE deal_key IS NOT NULL AND phase IN ('intent', 'outcome')
    ORDER BY deal_key, created_at DESC, chain_number DESC;

-- What a person should look at today.
CREATE VIEW failures_today AS
    SELECT created_at, deal_key, referral_id, crm_id, phase, direction, system, action, purpose, result, reason, status,
           error_class, error_code, error_message, calls, topic, topic_partition, topic_offset
    FROM audit
    WHERE created_at >= date_trunc('day', now())
      AND (phase = 'dead-letter' OR result IN ('refused', 'gone'))
    ORDER BY created_at;

-- From the webhook to the finished write, and the target's own share of it, by hour; in milliseconds.
CREATE VIEW latency_percentiles AS
    SELECT date_trunc('hour', created_at) AS hour, system, count(*) AS writes,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY whole_ms) AS webhook_to_write_p50,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY whole_ms) AS webhook_to_write_p95,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY whole_ms) AS webhook_to_write_p99,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) AS target_p50,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) AS target_p95,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_ms) AS target_p99
    FROM (SELECT created_at, system, duration_ms, extract(epoch FROM finished_at - received_at) * 1000 AS whole_ms
          FROM audit WHERE phase = 'outcome' AND result = 'applied') AS applied
    GROUP BY 1, 2;

-- What each version of the rules has written, field by field.
CREATE VIEW rules_change_effects AS
    SELECT rules_version, direction, field ->> 'name' AS field, count(*) AS writes, count(DISTINCT deal_key) AS deals,
           min(created_at) AS first_at, max(created_at) AS last_at
    FROM audit, jsonb_array_elements(fields) AS field
    WHERE phase = 'outcome' AND result = 'applied'
    GROUP BY 1, 2, 3;

-- Fields that both sides had changed, and how that was settled.
CREATE VIEW conflicts AS
    SELECT created_at, deal_key, referral_id, crm_id, phase, result, entry ->> 'name' AS field,
           entry -> 'partner_center' AS partner_center, entry -> 'crm' AS crm, entry ->> 'policy' AS policy,
           entry ->> 'winner' AS winner, decision_id
    FROM audit, jsonb_array_elements(conflicts) AS entry
    WHERE phase <> 'intent';

DO $$
DECLARE
    view_name text;
BEGIN
    FOREACH view_name IN ARRAY ARRAY['deal_timeline', 'open_intents', 'deal_status', 'failures_today',
                                     'latency_percentiles', 'rules_change_effects', 'conflicts'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO %I, %I', view_name, current_schema() || '_pusher',
                       current_schema() || '_reader');
    END LOOP;
END
$$;

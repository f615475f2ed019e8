-- What a person should look at today, with what ingest and the mapper have set aside: detail says who and where from.
SELECT set_config('role', current_schema() || '_owner', true);

CREATE OR REPLACE VIEW failures_today AS
    SELECT created_at, deal_key, referral_id, crm_id, phase, direction, system, action, purpose, result, reason, status,
           error_class, error_code, error_message, calls, topic, topic_partition, topic_offset, record_id, detail
    FROM audit
    WHERE created_at >= date_trunc('day', now())
      AND (phase = 'dead-letter' OR result IN ('refused', 'gone'))
    ORDER BY created_at;

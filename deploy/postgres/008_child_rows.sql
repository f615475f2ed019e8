-- Failures are also what was left out of an applied write because the target refused it, such as a child row.
SELECT set_config('role', current_schema() || '_owner', true);

CREATE OR REPLACE VIEW recent_failures AS
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
      AND (a.phase = 'dead-letter' OR a.result IN ('refused', 'gone')
           OR a.result = 'applied' AND a.error_code IS NOT NULL)
    ORDER BY a.created_at;

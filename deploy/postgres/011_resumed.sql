-- A deal whose rest is over stands where it stood before.
SELECT set_config('role', current_schema() || '_owner', true);

-- Where every deal stands: its last decision that was to change something, or why it rests since. A decision to do nothing
-- that only a deal which does not rest comes to ends the rest; `resumed` says no more than that.
CREATE OR REPLACE VIEW deal_status AS
    SELECT deal_key, referral_id,
           coalesce(crm_system, (SELECT told.crm_system FROM audit AS told
                                 WHERE told.crm_id = last.crm_id AND told.crm_system IS NOT NULL
                                 LIMIT 1)) AS crm_system,
           crm_id, purpose, direction, status, reason, error_code, error_message, since, decision_id
    FROM (SELECT DISTINCT ON (deal_key)
                 deal_key, referral_id, crm_system, crm_id, purpose, direction,
                 CASE WHEN phase = 'intent' THEN 'in progress' WHEN phase = 'none' THEN 'rests' ELSE result END AS status,
                 reason, error_code, error_message, created_at AS since, decision_id
          FROM audit
          WHERE deal_key IS NOT NULL
            AND (phase IN ('intent', 'outcome')
                 OR phase = 'none' AND reason IN ('sync_off', 'crm_gone', 'referral_gone')
                    AND NOT EXISTS (SELECT FROM audit AS later
                                    WHERE later.deal_key = audit.deal_key
                                      AND (later.created_at, later.chain_number) > (audit.created_at, audit.chain_number)
                                      AND later.phase = 'none'
                                      AND later.reason IN ('resumed', 'mended', 'invalid', 'not_selected',
                                                           'refused_before', 'crm_closed')))
            AND NOT (deal_key LIKE 'crm:%'
                     AND EXISTS (SELECT FROM audit AS later
                                 WHERE later.crm_id = substring(audit.deal_key FROM 5)
                                   AND later.referral_id = later.deal_key))
          ORDER BY deal_key, created_at DESC, chain_number DESC) AS last;

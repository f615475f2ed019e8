-- A deal that begins in the CRM is told under crm:<id> until it has its referral, and under the referral's id from then on.
SELECT set_config('role', current_schema() || '_owner', true);

CREATE INDEX audit_crm ON audit (crm_id) WHERE crm_id IS NOT NULL;

-- Where every deal stands: its last decision that was to change something, or why it rests since. Once it goes on under
-- its referral's key, the first key is no deal of its own.
CREATE OR REPLACE VIEW deal_status AS
    SELECT DISTINCT ON (deal_key)
           deal_key, referral_id, crm_system, crm_id, purpose, direction,
           CASE WHEN phase = 'intent' THEN 'in progress' WHEN phase = 'none' THEN 'rests' ELSE result END AS status,
           reason, error_code, error_message, created_at AS since, decision_id
    FROM audit
    WHERE deal_key IS NOT NULL
      AND (phase IN ('intent', 'outcome') OR phase = 'none' AND reason IN ('sync_off', 'crm_gone', 'referral_gone'))
      AND NOT (deal_key LIKE 'crm:%'
               AND EXISTS (SELECT FROM audit AS later
                           WHERE later.crm_id = substring(audit.deal_key FROM 5)
                             AND later.referral_id = later.deal_key))
    ORDER BY deal_key, created_at DESC, chain_number DESC;

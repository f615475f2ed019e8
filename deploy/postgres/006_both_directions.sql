-- What two directions ask of the audit: near misses of our own writes, conflicts a person has to settle, deals that rest.
SELECT set_config('role', current_schema() || '_owner', true);

ALTER TABLE audit ADD COLUMN near_misses jsonb;

-- Where every deal stands: its last decision that was to change something, or why it rests since.
CREATE OR REPLACE VIEW deal_status AS
    SELECT DISTINCT ON (deal_key)
           deal_key, referral_id, crm_system, crm_id, purpose, direction,
           CASE WHEN phase = 'intent' THEN 'in progress' WHEN phase = 'none' THEN 'rests' ELSE result END AS status,
           reason, error_code, error_message, created_at AS since, decision_id
    FROM audit
    WHERE deal_key IS NOT NULL
      AND (phase IN ('intent', 'outcome') OR phase = 'none' AND reason IN ('sync_off', 'crm_gone', 'referral_gone'))
    ORDER BY deal_key, created_at DESC, chain_number DESC;

-- Fields that soon after our own write showed another value: a seller who was overwritten and typed again, or somebody
-- else who writes there as well.
CREATE VIEW near_misses AS
    SELECT created_at, deal_key, referral_id, crm_id, entry ->> 'name' AS field, entry -> 'written' AS written,
           entry -> 'found' AS found, entry ->> 'decision' AS written_by, decision_id
    FROM audit, jsonb_array_elements(near_misses) AS entry
    WHERE phase <> 'intent';

-- Conflicts that wait for a person (policy manual): tandem-mapper settle ends one. What was told of a field last counts.
CREATE VIEW manual_conflicts AS
    SELECT since, deal_key, referral_id, crm_id, field, partner_center, crm
    FROM (SELECT DISTINCT ON (deal_key, field) *
          FROM (SELECT created_at AS since, chain_number, deal_key, referral_id, crm_id, entry ->> 'name' AS field,
                       entry -> 'partner_center' AS partner_center, entry -> 'crm' AS crm,
                       entry ->> 'winner' = 'nobody' AS is_open
                FROM audit, jsonb_array_elements(conflicts) AS entry
                WHERE phase <> 'intent'
                UNION ALL
                SELECT created_at, chain_number, deal_key, referral_id, crm_id, entry ->> 'name', NULL, NULL, false
                FROM audit, jsonb_array_elements(fields) AS entry
                WHERE phase = 'outcome' AND result = 'applied') AS told
          ORDER BY deal_key, field, since DESC, chain_number DESC) AS last
    WHERE is_open;

DO $$
DECLARE
    view_name text;
BEGIN
    FOREACH view_name IN ARRAY ARRAY['near_misses', 'manual_conflicts'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO %I, %I', view_name, current_schema() || '_pusher',
                       current_schema() || '_reader');
    END LOOP;
END
$$;

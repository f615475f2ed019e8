-- A deal that begins in the CRM is told under two keys; its story is one.
SELECT set_config('role', current_schema() || '_owner', true);

-- The whole story of a deal, oldest first. `known`: its key, the one it began with, or the id of either record.
CREATE FUNCTION deal_story(known text) RETURNS SETOF deal_timeline LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH told AS (
        SELECT deal_key, crm_id FROM deal_timeline
        WHERE deal_key = known OR crm_id = known OR crm_id = substring(known FROM '^crm:(.*)$')
    )
    SELECT * FROM deal_timeline
    WHERE deal_key IN (SELECT deal_key FROM told UNION SELECT 'crm:' || crm_id FROM told)
    ORDER BY created_at;
END;

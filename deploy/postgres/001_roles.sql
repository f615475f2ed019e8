-- Who may do what. Every statement here and in the files after it works in the schema that `tandem-pusher migrate` was
-- told, so nothing names one: the search path decides, and functions keep the path they were made with.
--
--   <schema>_owner   owns everything, cannot log in
--   <schema>_pusher  appends through append_audit(), reads; cannot change, delete or even insert by itself
--   <schema>_reader  reads
--
-- Logins are made by the operator: CREATE ROLE tandem_1 LOGIN PASSWORD '...' IN ROLE tandem_pusher;
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['owner', 'pusher', 'reader'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', current_schema() || '_' || role_name);
        EXCEPTION
            -- Roles belong to the whole cluster: another database's deployment may have made them, just now, too.
            WHEN duplicate_object OR unique_violation THEN
                NULL;
        END;
    END LOOP;
    IF NOT pg_has_role(current_user, current_schema() || '_owner', 'USAGE') THEN
        EXECUTE format('GRANT %I TO %I', current_schema() || '_owner', current_user);
    END IF;
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', current_schema(), current_schema() || '_owner');
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', current_schema(), current_schema() || '_pusher',
                   current_schema() || '_reader');
    EXECUTE format('GRANT SELECT ON migrations TO %I, %I', current_schema() || '_pusher',
                   current_schema() || '_reader');
END
$$;

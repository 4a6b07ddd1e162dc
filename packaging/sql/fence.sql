-- For [fence]: lets rolecall end sessions of ordinary users on a server that is out of recovery, from
-- the server's own host alone. Optional; without [fence] nobody needs it.
--
-- Run it as a superuser in the database that rolecall asks (dbname of its conninfo), once on the
-- primary, from where it reaches every standby:
--
--     psql -X -d repmgr -f fence.sql
--
-- The role `rolecall` must be there; with repmgr rolecall.sql, beside this file, makes it. Running it
-- again is harmless and brings an older version up to date. DROP FUNCTION rolecall.end_sessions takes
-- it back.
--
-- Why not GRANT pg_signal_backend: it would let the role end the session of any ordinary user, on a
-- healthy primary too, and from anywhere. This function ends none while the server is in recovery,
-- none of a superuser, no replication and no background worker, and none unless it is called from the
-- server's own host. What it cannot know is whether the node is out: rolecall decides that.

\set ON_ERROR_STOP on
SET client_min_messages = warning;

BEGIN;

DO $do$
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'this server is in recovery'
      USING HINT = 'run it on the primary; every standby then has it too';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rolecall') THEN
    RAISE EXCEPTION 'there is no role rolecall'
      USING HINT = 'CREATE ROLE rolecall LOGIN, or put the name of your own one into this file';
  END IF;
END
$do$;

CREATE SCHEMA IF NOT EXISTS rolecall;
REVOKE ALL ON SCHEMA rolecall FROM PUBLIC;
GRANT USAGE ON SCHEMA rolecall TO rolecall;

CREATE OR REPLACE FUNCTION rolecall.end_sessions(
         clients inet[], roles name[],
         OUT in_recovery bool, OUT beside bool, OUT told bigint)
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$
SELECT pg_is_in_recovery() AS in_recovery, here.beside,
       (SELECT count(*) FILTER (WHERE told)
          FROM (SELECT pg_terminate_backend(a.pid) AS told
                  FROM pg_stat_activity a
                  JOIN pg_roles r ON r.oid = a.usesysid
                 WHERE NOT pg_is_in_recovery()
                   AND here.beside
                   AND (a.client_addr <<= ANY (clients) OR a.usename = ANY (roles))
                   AND a.backend_type = 'client backend'
                   AND NOT r.rolsuper
                   AND a.usename <> session_user
                   AND a.pid <> pg_backend_pid()
                   AND a.backend_start <= (SELECT me.backend_start FROM pg_stat_activity me
                                            WHERE me.pid = pg_backend_pid())
                OFFSET 0) ended) AS told
  FROM (SELECT inet_client_addr() IS NOT DISTINCT FROM inet_server_addr()
            OR inet_client_addr() <<= ANY ('{127.0.0.0/8,::1}'::inet[]) AS beside) here
$$;
REVOKE ALL ON FUNCTION rolecall.end_sessions(inet[], name[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rolecall.end_sessions(inet[], name[]) TO rolecall;

COMMIT;

-- The role that rolecall asks the monitor of pg_auto_failover with: it can read the rows of the nodes, and nothing more.
--
-- Run it as a superuser in the monitor's database, once; a new monitor needs it again:
--
--     psql -X -d pg_auto_failover -f pg_auto_failover.sql
--
-- Running it again is harmless and brings an older version up to date. It sets no password; give one with
-- \password rolecall. The monitor's pg_hba.conf must let the role in from every host with a rolecall, such as
--
--     hostssl  pg_auto_failover  rolecall  10.0.0.0/24  scram-sha-256
--
-- Each node's own PostgreSQL needs a role for rolecall too, made on the primary: CREATE ROLE rolecall LOGIN, and
-- GRANT pg_read_all_stats TO rolecall for lag limits and for monitor_lost = "standbys".
--
-- Why not GRANT USAGE ON SCHEMA pgautofailover: everybody may execute the functions of that schema who may use it,
-- perform_failover and remove_node among them; and autoctl_node may do all of that. Why a function and no view: an
-- update of the extension replaces its tables, which a view would forbid.

\set ON_ERROR_STOP on
SET client_min_messages = warning;

BEGIN;

DO $do$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pgautofailover') THEN
    RAISE EXCEPTION 'database % has no extension pgautofailover', current_database()
      USING HINT = 'run it on the monitor, in its database pg_auto_failover';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rolecall') THEN
    CREATE ROLE rolecall LOGIN;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO rolecall', current_database());
END
$do$;

CREATE SCHEMA IF NOT EXISTS rolecall;
REVOKE ALL ON SCHEMA rolecall FROM PUBLIC;
GRANT USAGE ON SCHEMA rolecall TO rolecall;

CREATE OR REPLACE FUNCTION rolecall.auto_failover_nodes(
         OUT formation text, OUT kind text, OUT group_id int, OUT id bigint, OUT name text,
         OUT host text, OUT port int, OUT reported text, OUT goal text, OUT running bool,
         OUT health int, OUT reported_ms bigint, OUT checked_ms bigint, OUT priority int,
         OUT timeline int, OUT system bigint)
  RETURNS SETOF record
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$
SELECT n.formationid, f.kind, n.groupid, n.nodeid, n.nodename,
       n.nodehost, n.nodeport, n.reportedstate::text, n.goalstate::text, n.reportedpgisrunning,
       n.health, (extract(epoch FROM now() - n.reporttime) * 1000)::bigint,
       (extract(epoch FROM now() - n.healthchecktime) * 1000)::bigint, n.candidatepriority,
       n.reportedtli, n.sysidentifier
  FROM pgautofailover.node n
  JOIN pgautofailover.formation f USING (formationid)
$$;
REVOKE ALL ON FUNCTION rolecall.auto_failover_nodes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rolecall.auto_failover_nodes() TO rolecall;

COMMIT;

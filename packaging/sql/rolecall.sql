-- The role that rolecall asks repmgr's nodes with: it can read what a look needs and nothing more.
--
-- Run it as a superuser in repmgr's database (dbname of repmgr.conf's conninfo), once on the primary,
-- from where it reaches every standby, and once on the witness, which is a cluster of its own:
--
--     psql -X -d repmgr -f rolecall.sql
--
-- Running it again is harmless and brings an older version up to date. It sets no password; give one
-- with \password rolecall, on the witness the same. Each server's pg_hba.conf must let the role in
-- from every other node, such as
--
--     hostssl  repmgr  rolecall  10.0.0.0/24  scram-sha-256
--     local    repmgr  rolecall               scram-sha-256
--
-- Why not GRANT USAGE ON SCHEMA repmgr: it would let the role execute repmgr.repmgrd_pause(true),
-- which everybody may who may use the schema, and which switches failover off. And repmgr.nodes has
-- connection strings that may hold passwords; the view below shows hosts and ports of them.

\set ON_ERROR_STOP on
SET client_min_messages = warning;

BEGIN;

DO $do$
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'this server is in recovery'
      USING HINT = 'run it on the primary; every standby then has it too';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'repmgr') THEN
    RAISE EXCEPTION 'database % has no extension repmgr', current_database()
      USING HINT = 'repmgr.conf''s conninfo names the database that has it';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rolecall') THEN
    CREATE ROLE rolecall LOGIN;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO rolecall', current_database());
  -- A reserved slot (reserved_connections, PostgreSQL 16) keeps a storm of clients from blinding it.
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_use_reserved_connections') THEN
    GRANT pg_use_reserved_connections TO rolecall;
  END IF;
END
$do$;

-- Without it pg_stat_wal_receiver shows a process id and else NULL.
GRANT pg_read_all_stats TO rolecall;

CREATE SCHEMA IF NOT EXISTS rolecall;
REVOKE ALL ON SCHEMA rolecall FROM PUBLIC;
GRANT USAGE ON SCHEMA rolecall TO rolecall;

-- repmgr.nodes, and of conninfo host, hostaddr and port. A connection string is a URI, or words
-- key=value where quotes and backslashes keep a value together; libpq reads it so.
CREATE OR REPLACE VIEW rolecall.nodes AS
SELECT n.node_id, n.upstream_node_id, n.active, n.node_name, n.type, n.location, n.priority,
       CASE WHEN n.conninfo ~ '^postgres(ql)?://' THEN
            'postgresql://' || substring(u.bare FROM '^[^/?]*') || coalesce(
              (SELECT '?' || string_agg(part, '&' ORDER BY at)
                 FROM regexp_split_to_table(substring(u.bare FROM '[?](.*)$'), '&')
                      WITH ORDINALITY AS p(part, at)
                WHERE part ~ '^(host|hostaddr|port)='), '')
       ELSE coalesce(
              (SELECT string_agg(m[1] || '=' || m[2], ' ' ORDER BY at)
                 FROM regexp_matches(n.conninfo,
                        $re$([^=\s]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^'\s\\]|\\.)(?:[^\s\\]|\\.)*)$re$,
                        'g') WITH ORDINALITY AS w(m, at)
                WHERE m[1] IN ('host', 'hostaddr', 'port')), '')
       END AS conninfo,
       n.config_file
  FROM repmgr.nodes n
 CROSS JOIN LATERAL
       (SELECT regexp_replace(n.conninfo, '^postgres(ql)?://([^@/]*@)?', '') AS bare) u;
REVOKE ALL ON rolecall.nodes FROM PUBLIC;
GRANT SELECT ON rolecall.nodes TO rolecall;

CREATE OR REPLACE FUNCTION rolecall.repmgrd_state(
         OUT local_node_id int, OUT upstream_node_id int, OUT upstream_last_seen int,
         OUT running bool, OUT paused bool)
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$
SELECT repmgr.get_local_node_id(), repmgr.get_upstream_node_id(), repmgr.get_upstream_last_seen(),
       repmgr.repmgrd_is_running(), repmgr.repmgrd_is_paused()
$$;
REVOKE ALL ON FUNCTION rolecall.repmgrd_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rolecall.repmgrd_state() TO rolecall;

-- Whom an elected node told this one to follow: until it does, its vote may move without a delay.
CREATE OR REPLACE FUNCTION rolecall.new_primary() RETURNS int
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $$ SELECT repmgr.get_new_primary() $$;
REVOKE ALL ON FUNCTION rolecall.new_primary() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rolecall.new_primary() TO rolecall;

COMMIT;

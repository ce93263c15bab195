-- SPDX-License-Identifier: MIT
-- Queries over the tables of pgbench and some of their own: sorts, hash joins, aggregates, JSON,
-- regular expressions, large texts, a procedural loop, a parallel plan and a compiled (JIT) one.
SET max_parallel_workers_per_gather = 2;
SET work_mem = '16MB';

CREATE TABLE event AS
  SELECT n AS id, 'owner' || n * 7919 % 500 AS owner, repeat(md5(n::text), 1 + n % 8) AS body,
         jsonb_build_object('n', n, 'list', ARRAY[n % 3, n % 5, n % 7], 'name', md5((n * 3)::text))
           AS data
  FROM generate_series(1, 20000) AS n;
CREATE INDEX ON event USING gin (data);
CREATE INDEX ON event (owner, id);
ANALYZE event;

SELECT owner, count(*), md5(string_agg(body, ',' ORDER BY id)) FROM event
  GROUP BY owner ORDER BY owner;
SELECT id, sum(length(body)) OVER (PARTITION BY owner ORDER BY id DESC ROWS 9 PRECEDING)
  FROM event ORDER BY md5(body), id LIMIT 500;
SELECT count(*), sum((data->>'n')::int) FROM event WHERE data @> '{"list": [2, 4]}';
SELECT md5(string_agg(regexp_replace(body, '([a-f])([0-9])', '\2\1', 'g'), '' ORDER BY id))
  FROM event WHERE id <= 3000;
SELECT length(text), md5(text) FROM
  (SELECT string_agg(repeat(body, 20), ',' ORDER BY id) AS text FROM event WHERE id <= 2000) AS l;

DO $$
DECLARE
  words text[] := '{}';
  total bigint := 0;
BEGIN
  FOR round IN 1..3000 LOOP
    words := words || md5(round::text);
    IF round % 10 = 0 THEN
      BEGIN
        total := total + length(words[round]) / (round % 20);
      EXCEPTION WHEN division_by_zero THEN
        total := total + 1;
      END;
    END IF;
  END LOOP;
  CREATE TABLE loop_result AS SELECT total, md5(array_to_string(words, ',')) AS words;
END $$;
SELECT * FROM loop_result;

SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), sum(abalance), sum(aid::numeric * bid) FROM pgbench_accounts;
SELECT t.owner, count(*) FROM event e JOIN event t USING (owner) WHERE e.id % 50 = t.id % 50
  GROUP BY t.owner ORDER BY 2 DESC, 1 LIMIT 20;

SET jit = on;
SET jit_above_cost = 0;
SET jit_inline_above_cost = 0;
SET jit_optimize_above_cost = 0;
SELECT sum(aid * 3 + bid % 7), max(length(filler)), count(DISTINCT abalance % 17)
  FROM pgbench_accounts WHERE aid % 3 = 1;

-- What pgbench left behind; each transaction's change is fixed by its seed, their order is not.
SELECT 'accounts', md5(string_agg(a::text, ',' ORDER BY aid)) FROM pgbench_accounts a;
SELECT 'tellers', md5(string_agg(t::text, ',' ORDER BY tid)) FROM pgbench_tellers t;
SELECT 'branches', md5(string_agg(b::text, ',' ORDER BY bid)) FROM pgbench_branches b;
SELECT 'history', count(*), md5(string_agg(concat_ws(' ', tid, bid, aid, delta), ','
  ORDER BY tid, bid, aid, delta)) FROM pgbench_history;

-- The usage of instances: the ledger, and budgets.

-- name: LockUsage :exec
-- A separate statement, so that the next one sees all reservations committed before.
SELECT FROM llm_service_instances WHERE instance_id = @instance_id::int FOR NO KEY UPDATE;

-- name: ReserveUsage :one
-- Of several exceeded limits, the result is the one with the latest reset. A share that has ended is one, too.
WITH forgotten AS (
    DELETE FROM usage_reservations
     WHERE instance_id = @instance_id::int
       AND expires_at < statement_timestamp() AND made_at < statement_timestamp() - interval '1 minute'
), limited AS (
    SELECT NULL::text AS holder, tokens_per_day, tokens_per_month, requests_per_minute, expires_at
      FROM llm_service_instances
     WHERE instance_id = @instance_id::int
    UNION ALL
    SELECT user_handle, tokens_per_day, tokens_per_month, requests_per_minute, NULL
      FROM llm_service_instances_shared_with
     WHERE instance_id = @instance_id::int AND user_handle = @holder::text
    UNION ALL
    SELECT @holder::text, NULL, NULL, NULL, '-infinity'
     WHERE NOT EXISTS (SELECT FROM instance_access
                        WHERE instance_id = @instance_id::int AND user_handle = @holder::text)
), today AS (
    SELECT date_trunc('day', statement_timestamp(), 'UTC') AS day,
           date_trunc('month', statement_timestamp(), 'UTC') AS month
), used AS (
    SELECT limited.*, spent.*, reserved.*, today.*
      FROM limited
     CROSS JOIN today
     CROSS JOIN LATERAL (
         SELECT coalesce(sum(tokens) FILTER (WHERE usage.day = (today.day AT TIME ZONE 'UTC')::date), 0) AS in_day,
                coalesce(sum(tokens), 0) AS in_month
           FROM instance_usage AS usage
          WHERE usage.instance_id = @instance_id::int AND usage.day >= (today.month AT TIME ZONE 'UTC')::date
            AND (limited.holder IS NULL OR usage.holder = limited.holder)) AS spent
     CROSS JOIN LATERAL (
         SELECT coalesce(sum(reservation.tokens) FILTER (WHERE reservation.expires_at > statement_timestamp()), 0)
                    AS reserved,
                count(*) FILTER (WHERE made_at > statement_timestamp() - interval '1 minute') AS recent,
                min(made_at) FILTER (WHERE made_at > statement_timestamp() - interval '1 minute') AS oldest
           FROM usage_reservations AS reservation
          WHERE reservation.instance_id = @instance_id::int
            AND (limited.holder IS NULL OR reservation.holder = limited.holder)) AS reserved
), reached AS (
    SELECT used.holder, kind.*
      FROM used
     CROSS JOIN LATERAL (VALUES
         ('requests_per_minute', requests_per_minute::bigint, recent, 0::bigint, 1::bigint,
          coalesce(oldest, statement_timestamp()) + interval '1 minute'),
         ('tokens_per_day', tokens_per_day, in_day::bigint, reserved::bigint, @tokens::bigint,
          day + interval '1 day'),
         ('tokens_per_month', tokens_per_month, in_month::bigint, reserved::bigint, @tokens::bigint,
          month + interval '1 month'),
         ('expires_at', CASE WHEN used.expires_at <= statement_timestamp() THEN 0 END, 0, 0, 1, 'infinity')
     ) AS kind (name, allowed, spent, reserved, wanted, again_at)
     WHERE kind.spent + kind.reserved + kind.wanted > kind.allowed
), made AS (
    INSERT INTO usage_reservations (instance_id, holder, tokens, made_at, expires_at)
    SELECT @instance_id::int, @holder::text, @tokens::bigint, statement_timestamp(),
           statement_timestamp() + make_interval(secs => @seconds::float8)
     WHERE NOT EXISTS (SELECT FROM reached)
    RETURNING reservation_id
)
SELECT made.reservation_id, reached.name, reached.holder AS limit_of, reached.allowed, reached.spent, reached.reserved,
       reached.wanted > reached.allowed AS is_never,
       CASE WHEN reached.again_at < 'infinity'
            THEN extract(epoch FROM reached.again_at - statement_timestamp())::float8 END AS again_in
  FROM (VALUES (1)) AS always
  LEFT JOIN made ON true
  LEFT JOIN reached ON true
 ORDER BY reached.again_at DESC NULLS LAST
 LIMIT 1;

-- name: RenewUsage :execrows
-- An expired reservation cannot be renewed: others may have reserved its tokens.
UPDATE usage_reservations SET expires_at = statement_timestamp() + make_interval(secs => @seconds::float8)
 WHERE reservation_id = @reservation_id::bigint AND expires_at > statement_timestamp();

-- name: SettleUsage :exec
-- A deleted instance has no ledger; the cost of users deleted meanwhile is entered for `_deleted`. Without a call only the
-- reservation ends. It may be repeated if its result was lost: a reservation without tokens has ended, so its cost is
-- already entered.
WITH ended AS (
    UPDATE usage_reservations SET tokens = 0, expires_at = least(expires_at, statement_timestamp())
     WHERE reservation_id = @reservation_id::bigint
), instance AS (
    SELECT instance_id FROM llm_service_instances WHERE instance_id = @instance_id::int FOR KEY SHARE
)
INSERT INTO instance_usage AS usage
    (instance_id, day, holder, caller, requests, texts, tokens, estimated_tokens, failures)
SELECT instance_id, (statement_timestamp() AT TIME ZONE 'UTC')::date,
       CASE WHEN EXISTS (SELECT FROM users WHERE user_handle = @holder::text) THEN @holder::text ELSE '_deleted' END,
       CASE WHEN @caller::text IN ('admin', 'public') OR EXISTS (SELECT FROM users WHERE user_handle = @caller::text)
            THEN @caller::text ELSE '_deleted' END,
       @requests::bigint, @texts::bigint, @tokens::bigint, @estimated_tokens::bigint, @failures::bigint
  FROM instance
 WHERE @requests::bigint > 0
   AND NOT EXISTS (SELECT FROM usage_reservations WHERE reservation_id = @reservation_id::bigint AND tokens = 0)
ON CONFLICT (instance_id, day, holder, caller) DO UPDATE
   SET requests = usage.requests + excluded.requests, texts = usage.texts + excluded.texts,
       tokens = usage.tokens + excluded.tokens,
       estimated_tokens = usage.estimated_tokens + excluded.estimated_tokens,
       failures = usage.failures + excluded.failures;

-- name: GetUsage :many
-- The usage of a user is that of the caller or of the holder.
SELECT CASE WHEN @by_day::bool THEN day END AS day, CASE WHEN @by_user::bool THEN caller::text END AS user_handle,
       sum(requests)::bigint AS requests, sum(texts)::bigint AS texts, sum(tokens)::bigint AS tokens,
       sum(estimated_tokens)::bigint AS estimated_tokens, sum(failures)::bigint AS failures
  FROM instance_usage
 WHERE instance_id = @instance_id::int
   AND day BETWEEN @first_day::date AND @last_day::date
   AND (@user_handle::text IS NULL OR caller = @user_handle::text OR holder = @user_handle::text)
 GROUP BY 1, 2
 ORDER BY 1, 2
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: ForgetUserInUsage :exec
-- A later user of the same handle must not see the usage of a deleted one, nor have it counted against a limit.
WITH forgotten AS (
    DELETE FROM instance_usage
     WHERE holder = @user_handle::text OR caller = @user_handle::text
    RETURNING instance_id, day, CASE WHEN holder = @user_handle::text THEN '_deleted' ELSE holder END AS holder,
              CASE WHEN caller = @user_handle::text THEN '_deleted' ELSE caller END AS caller,
              requests, texts, tokens, estimated_tokens, failures
)
INSERT INTO instance_usage AS usage
    (instance_id, day, holder, caller, requests, texts, tokens, estimated_tokens, failures)
SELECT instance_id, day, holder, caller, sum(requests), sum(texts), sum(tokens), sum(estimated_tokens), sum(failures)
  FROM forgotten
 GROUP BY instance_id, day, holder, caller
 ORDER BY instance_id, day, holder, caller
ON CONFLICT (instance_id, day, holder, caller) DO UPDATE
   SET requests = usage.requests + excluded.requests, texts = usage.texts + excluded.texts,
       tokens = usage.tokens + excluded.tokens,
       estimated_tokens = usage.estimated_tokens + excluded.estimated_tokens,
       failures = usage.failures + excluded.failures;

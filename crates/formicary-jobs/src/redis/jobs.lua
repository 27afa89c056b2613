-- All operations of the store, each of them atomic. KEYS[1] is the prefix of all keys, ARGV[1] the operation.
--
--   id            the last id
--   job:ID        hash: kind, version, payload, key, attempt, attempts, reservation, error
--   ready:KIND    sorted set of ids by the time when they are due
--   kinds         set of the kinds that have a `ready`
--   leases        sorted set of ids by the time when their lease ends
--   dead          sorted set of ids, oldest first
--   key:KEY       is there while the key is remembered
local p, op = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function job(id)
    return p .. 'job:' .. id
end

local function make_ready(id, due)
    local kind = redis.call('HGET', job(id), 'kind')
    redis.call('ZADD', p .. 'ready:' .. kind, due, id)
    redis.call('SADD', p .. 'kinds', kind)
end

local function bury(id)
    redis.call('ZADD', p .. 'dead', tonumber(id), id)
end

-- Whether the lease of a job is that of this token.
local function holds(id, token)
    return redis.call('HGET', job(id), 'reservation') == token and redis.call('ZSCORE', p .. 'leases', id)
end

local function push(id, kind, version, payload, key, attempts)
    redis.call('HSET', job(id), 'kind', kind, 'version', version, 'payload', payload, 'attempt', 0, 'attempts', attempts, 'reservation', 0)
    if key then
        redis.call('HSET', job(id), 'key', key)
    end
    make_ready(id, now)
end

local function expire()
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. 'leases', '-inf', now, 'LIMIT', 0, 1000)) do
        redis.call('ZREM', p .. 'leases', id)
        local attempt, attempts = unpack(redis.call('HMGET', job(id), 'attempt', 'attempts'))
        redis.call('HSET', job(id), 'error', 'the lease ended in attempt ' .. attempt .. ': its process died or stalled')
        if tonumber(attempt) >= tonumber(attempts) then
            bury(id)
        else
            make_ready(id, now)
        end
    end
end

local function settle(id, token, how, after, error)
    if how == 'done' then
        -- Whoever has the lease by now: the work is done.
        local kind = redis.call('HGET', job(id), 'kind')
        if not kind then
            return 0
        end
        redis.call('ZREM', p .. 'leases', id)
        redis.call('ZREM', p .. 'ready:' .. kind, id)
        redis.call('ZREM', p .. 'dead', id)
        redis.call('DEL', job(id))
        return 1
    end
    if not holds(id, token) then
        return 0
    end
    redis.call('ZREM', p .. 'leases', id)
    redis.call('HSET', job(id), 'error', error)
    if how == 'bury' then
        bury(id)
        return 1
    end
    if how == 'release' then
        redis.call('HINCRBY', job(id), 'attempt', -1)
    end
    make_ready(id, now + after)
    return 1
end

local out = {}

if op == 'push' then
    local keep = ARGV[2]
    for i = 3, #ARGV, 5 do
        local key = string.sub(ARGV[i + 3], 1, 1) == '=' and string.sub(ARGV[i + 3], 2)
        if key and not redis.call('SET', p .. 'key:' .. key, '', 'NX', 'PX', keep) then
            out[#out + 1] = ''
        else
            local id = string.format('%016d', redis.call('INCR', p .. 'id'))
            push(id, ARGV[i], ARGV[i + 1], ARGV[i + 2], key, ARGV[i + 4])
            out[#out + 1] = id
        end
    end
elseif op == 'kinds' then
    out = redis.call('SMEMBERS', p .. 'kinds')
elseif op == 'reserve' then
    local kind, n, lease = ARGV[2], ARGV[3], ARGV[4]
    expire()
    local ready = p .. 'ready:' .. kind
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', ready, '-inf', now, 'LIMIT', 0, n)) do
        redis.call('ZREM', ready, id)
        redis.call('ZADD', p .. 'leases', now + lease, id)
        local attempt = redis.call('HINCRBY', job(id), 'attempt', 1)
        local token = redis.call('HINCRBY', job(id), 'reservation', 1)
        local version, payload, key, attempts = unpack(redis.call('HMGET', job(id), 'version', 'payload', 'key', 'attempts'))
        out[#out + 1] = { id, tostring(token), version, payload, key, attempt, attempts }
    end
    if redis.call('EXISTS', ready) == 0 then
        redis.call('SREM', p .. 'kinds', kind)
    end
elseif op == 'extend' then
    for i = 3, #ARGV, 2 do
        local held = holds(ARGV[i], ARGV[i + 1])
        if held then
            redis.call('ZADD', p .. 'leases', now + ARGV[2], ARGV[i])
        end
        out[#out + 1] = held and 1 or 0
    end
elseif op == 'settle' then
    for i = 2, #ARGV, 5 do
        out[#out + 1] = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
    end
elseif op == 'dead' then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. 'dead', '-inf', '+inf', 'LIMIT', 0, ARGV[2])) do
        local fields = redis.call('HMGET', job(id), 'kind', 'version', 'payload', 'key', 'attempt', 'error')
        table.insert(fields, 1, id)
        out[#out + 1] = fields
    end
elseif op == 'replay' or op == 'discard' then
    for i = 2, #ARGV do
        local id = ARGV[i]
        if redis.call('ZREM', p .. 'dead', id) == 1 then
            out[#out + 1] = 1
            if op == 'discard' then
                redis.call('DEL', job(id))
            else
                redis.call('HSET', job(id), 'attempt', 0)
                make_ready(id, now)
            end
        end
    end
elseif op == 'counts' then
    local ready = 0
    for _, kind in ipairs(redis.call('SMEMBERS', p .. 'kinds')) do
        ready = ready + redis.call('ZCARD', p .. 'ready:' .. kind)
    end
    out = { ready, redis.call('ZCARD', p .. 'leases'), redis.call('ZCARD', p .. 'dead') }
end
return out

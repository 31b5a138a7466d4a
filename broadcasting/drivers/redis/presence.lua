-- Who is there, in Redis. Each call is one atomic step; redis_presence.py says which.
--
-- KEYS[1] stands before every key and holds the hash tag: all keys share a slot.
--
--   users:<topic>       user id -> "<number of entries>:<information, JSON>"
--   entries:<topic>     entry -> "<node>:<user id>"
--   entries-of:<node>   "<topic>\n<entry>" of each entry that the node made
--   sockets-of:<node>   topic -> the node's sockets
--   occupied:<app id>   channel -> the sockets of all nodes
--   nodes               node -> when it was last heard of, in milliseconds
--   connections         node -> its connections by application id, JSON
--   dead                nodes whose entries and sockets are still to be removed
--   graces              "<topic>\n<user id>" -> when a user without entries is removed
--   reports             "v<topic>" or "m<topic>\n<user id>" -> when it is told that it went
--   recounts            topic -> when its subscribers are to be told its sockets
--   epoch               when Redis was found empty: another value, and it has lost its data
--   restoring           exists while nodes tell again what Redis has lost
--   seen:<topic>        exists if members were read while some might not be told again yet

local base, op = KEYS[1], ARGV[1]
local publish, prefix, first, node, epoch = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local dead_after, report_grace = tonumber(ARGV[7]), tonumber(ARGV[8])
local settling, ttl = tonumber(ARGV[9]), ARGV[10]
local OWN = 11 -- Where an operation's own arguments begin.
local BUDGET = 500 -- Entries that one call may remove.

local call = redis.call
local clock = call('TIME')
local micros = clock[1] * 1000000 + clock[2]
local now = math.floor(micros / 1000)

local function split(text, separator)
  local at = string.find(text, separator, 1, true)
  return string.sub(text, 1, at - 1), string.sub(text, at + 1)
end

local function keep(key)
  call('EXPIRE', key, ttl)
end

-- Whether the node is the one that Redis knows: neither removed as dead nor lost.
local function is_known()
  return call('ZSCORE', base .. 'nodes', node) and call('GET', base .. 'epoch') == epoch
end

-- Whether some nodes may not have noticed yet that Redis has lost its data.
local function is_young()
  local began = call('GET', base .. 'epoch')
  return began and micros - tonumber(began) < settling * 1000
end

local function delay(wanted)
  return math.max(wanted, call('PTTL', base .. 'restoring'))
end

local function tell(topic, event, data, socket)
  local channel = topic
  if string.sub(topic, 1, #first) == first then
    channel = string.sub(topic, #first + 1)
  end
  call(publish, prefix .. channel, '{"event":"pusher_internal:' .. event .. '","data":' .. data
    .. ',"socket":' .. socket .. ',"version":' .. next_version(base .. 'version') .. '}')
end

local function due(list, what, wait)
  call('ZADD', base .. list, now + wait, what)
  keep(base .. list)
end

local function user_of(topic, id)
  local value = call('HGET', base .. 'users:' .. topic, id)
  if value then
    local entries, info = split(value, ':')
    return tonumber(entries), info
  end
end

local function set_user(topic, id, entries, info)
  call('HSET', base .. 'users:' .. topic, id, entries .. ':' .. info)
  keep(base .. 'users:' .. topic)
end

local function remove(topic, id)
  call('HDEL', base .. 'users:' .. topic, id)
  tell(topic, 'member_removed', '{"user_id":' .. cjson.encode(id) .. '}', 'null')
  due('reports', 'm' .. topic .. '\n' .. id, delay(report_grace))
end

-- Enter a user. Return 1 if that is to be reported. An entry told again does not
-- replace the information, which another node may have from a later one.
local function enter(topic, entry, id, info, socket, again, quiet)
  local entries, known_info = user_of(topic, id)
  local owner = call('HGET', base .. 'entries:' .. topic, entry)
  if owner then
    call('SREM', base .. 'entries-of:' .. split(owner, ':'), topic .. '\n' .. entry)
  end
  if not (owner and entries) then
    set_user(topic, id, (entries or 0) + 1, again and known_info or info)
  else
    set_user(topic, id, entries, again and known_info or info)
  end
  call('HSET', base .. 'entries:' .. topic, entry, node .. ':' .. id)
  call('SADD', base .. 'entries-of:' .. node, topic .. '\n' .. entry)
  keep(base .. 'entries:' .. topic)
  keep(base .. 'entries-of:' .. node)
  if entries == 0 then
    call('ZREM', base .. 'graces', topic .. '\n' .. id)
  end
  if entries then
    return 0
  end
  if not quiet or call('EXISTS', base .. 'seen:' .. topic) == 1 then
    local data = '{"user_id":' .. cjson.encode(id) .. ',"user_info":' .. info .. '}'
    tell(topic, 'member_added', data, socket)
  end
  local is_back = call('ZREM', base .. 'reports', 'm' .. topic .. '\n' .. id) == 1
  return (quiet or is_back) and 0 or 1
end

-- Take an entry out, if it is the node's `only` where one is given. Return 0 if there is none.
local function take_out(topic, entry, grace, only)
  local owner = call('HGET', base .. 'entries:' .. topic, entry)
  if not owner then
    return 0
  end
  local who, id = split(owner, ':')
  if only and who ~= only then
    return 0
  end
  call('HDEL', base .. 'entries:' .. topic, entry)
  call('SREM', base .. 'entries-of:' .. who, topic .. '\n' .. entry)
  local entries, info = user_of(topic, id)
  if not entries then
    return 1
  end
  if entries > 1 then
    set_user(topic, id, entries - 1, info)
    return 1
  end
  grace = delay(grace)
  if grace > 0 then
    set_user(topic, id, 0, info)
    due('graces', topic .. '\n' .. id, grace)
  else
    remove(topic, id)
  end
  return 1
end

-- Set a node's sockets of a topic. Return the old and new total, and 1 if the topic was
-- not occupied and that is to be reported. Where nobody `answers` for telling the new
-- total to subscribers, that becomes due: at once, or when all nodes have told again.
local function set_sockets(who, topic, number, answers, quiet)
  local app, channel = split(topic, ':')
  local own = tonumber(call('HGET', base .. 'sockets-of:' .. who, topic) or 0)
  local old = math.max(own, tonumber(call('HGET', base .. 'occupied:' .. app, channel) or 0))
  local new = old - own + number
  if number > 0 then
    call('HSET', base .. 'sockets-of:' .. who, topic, number)
    keep(base .. 'sockets-of:' .. who)
  else
    call('HDEL', base .. 'sockets-of:' .. who, topic)
  end
  if new > 0 then
    call('HSET', base .. 'occupied:' .. app, channel, new)
    keep(base .. 'occupied:' .. app)
  else
    call('HDEL', base .. 'occupied:' .. app, channel)
  end
  local reported = 0
  if old == 0 and new > 0 then
    local is_back = call('ZREM', base .. 'reports', 'v' .. topic) == 1
    reported = (quiet or is_back) and 0 or 1
  elseif old > 0 and new == 0 then
    due('reports', 'v' .. topic, delay(report_grace))
  end
  if not answers and old ~= new and new > 0 then
    due('recounts', topic, delay(0))
  end
  return old, new, reported
end

local function members(topic)
  if is_young() then
    call('SET', base .. 'seen:' .. topic, 1, 'PX', settling)
  end
  -- Read, not raised: what comes later has a greater one anyway.
  local version = call('GET', base .. 'version') or next_version(base .. 'version')
  return version, call('HGETALL', base .. 'users:' .. topic)
end

local function bury(who)
  call('ZREM', base .. 'nodes', who)
  call('HDEL', base .. 'connections', who)
  call('SADD', base .. 'dead', who)
  keep(base .. 'dead')
end

local function clear_dead(budget)
  for _, who in ipairs(call('SRANDMEMBER', base .. 'dead', 10)) do
    local entries = budget > 0 and call('SPOP', base .. 'entries-of:' .. who, budget) or {}
    for _, item in ipairs(entries) do
      local topic, entry = split(item, '\n')
      take_out(topic, entry, 0, who)
    end
    budget = budget - #entries
    if budget > 0 then
      local sockets = call('HSCAN', base .. 'sockets-of:' .. who, 0, 'COUNT', budget)[2]
      for at = 1, #sockets, 2 do
        set_sockets(who, sockets[at], 0, false, false)
      end
      budget = budget - #sockets / 2
      if call('EXISTS', base .. 'sockets-of:' .. who) == 0 then
        call('SREM', base .. 'dead', who)
      end
    end
  end
  return budget
end

local ops = {}

-- previous epoch, new node id -> epoch, 1 if the node is known, 1 if Redis has lost its data
function ops.hello()
  local previous, fresh = ARGV[OWN], ARGV[OWN + 1]
  local current = call('GET', base .. 'epoch')
  if not current then
    current = string.format('%.0f', micros)
    call('SET', base .. 'epoch', current, 'EX', ttl)
  end
  local is_lost = previous ~= '' and previous ~= current
  if is_lost and is_young() then
    call('SET', base .. 'restoring', 1, 'PX', settling, 'NX')
  end
  local is_old = node ~= '' and call('ZSCORE', base .. 'nodes', node)
  call('ZADD', base .. 'nodes', now, is_old and node or fresh)
  keep(base .. 'nodes')
  return {current, is_old and 1 or 0, is_lost and 1 or 0}
end

-- topic, entry, user id, info, socket as JSON, limit
-- -> -1 | 0 (full) | version, 1 if reported, users
function ops.join()
  local topic, entry, id, info, socket, limit = unpack(ARGV, OWN, OWN + 5)
  if not is_known() then
    return -1
  end
  local users = base .. 'users:' .. topic
  if call('HEXISTS', users, id) == 0 and call('HLEN', users) >= tonumber(limit) then
    return 0
  end
  local reported = enter(topic, entry, id, info, socket, false, false)
  local version, all = members(topic)
  return {version, reported, all}
end

-- 1 if Redis had lost its data, then topic, entry, user id, info ...
-- -> -1 | for each, 1 if it is to be reported
function ops.tell()
  if not is_known() then
    return -1
  end
  local quiet, reported = ARGV[OWN] == '1' and is_young(), {}
  for at = OWN + 1, #ARGV, 4 do
    local topic, entry, id, info = unpack(ARGV, at, at + 3)
    table.insert(reported, enter(topic, entry, id, info, 'null', true, quiet))
  end
  return reported
end

-- topic, entry, grace in milliseconds ... -> for each, 0 if there is no such entry
function ops.leave()
  local found = {}
  for at = OWN, #ARGV, 3 do
    table.insert(found, take_out(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])))
  end
  return found
end

-- 0 if the node tells subscribers, 1 if not, 2 if Redis had lost its data, then
-- topic, sockets ...
-- -> -1 | for each, old and new total, 1 if it is to be reported
function ops.count()
  if not is_known() then
    return -1
  end
  local answers, quiet, totals = ARGV[OWN] == '0', ARGV[OWN] == '2' and is_young(), {}
  for at = OWN + 1, #ARGV, 2 do
    local number = tonumber(ARGV[at + 1])
    local old, new, reported = set_sockets(node, ARGV[at], number, answers, quiet)
    table.insert(totals, old)
    table.insert(totals, new)
    table.insert(totals, reported)
  end
  return totals
end

-- topic -> version, users
function ops.members()
  local version, all = members(ARGV[OWN])
  return {version, all}
end

-- topic ... -> for each, sockets and users
function ops.sizes()
  local sizes = {}
  for at = OWN, #ARGV do
    local app, channel = split(ARGV[at], ':')
    table.insert(sizes, tonumber(call('HGET', base .. 'occupied:' .. app, channel) or 0))
    table.insert(sizes, call('HLEN', base .. 'users:' .. ARGV[at]))
  end
  return sizes
end

-- app id, cursor, pattern -> cursor, channels and sockets
function ops.occupied()
  local key = base .. 'occupied:' .. ARGV[OWN]
  return call('HSCAN', key, ARGV[OWN + 1], 'MATCH', ARGV[OWN + 2], 'COUNT', 1000)
end

-- cursor -> cursor, entries of the node ("<topic>\n<entry>")
function ops.entries()
  return call('SSCAN', base .. 'entries-of:' .. node, ARGV[OWN], 'COUNT', 1000)
end

-- cursor -> cursor, topics and sockets of the node
function ops.sockets()
  return call('HSCAN', base .. 'sockets-of:' .. node, ARGV[OWN], 'COUNT', 1000)
end

-- connections as JSON -> -1 | connections of each node as JSON
function ops.heartbeat()
  if not is_known() then
    return -1
  end
  call('ZADD', base .. 'nodes', now, node)
  call('HSET', base .. 'connections', node, ARGV[OWN])
  local keys = {'nodes', 'connections', 'dead', 'graces', 'reports', 'recounts', 'epoch'}
  for _, key in ipairs(keys) do
    keep(base .. key)
  end
  keep(base .. 'entries-of:' .. node)
  keep(base .. 'sockets-of:' .. node)
  return call('HVALS', base .. 'connections')
end

-- Return what is due in `list` by now, once.
local function take_due(list)
  local items = call('ZRANGEBYSCORE', base .. list, '-inf', now, 'LIMIT', 0, BUDGET)
  if #items > 0 then
    call('ZREM', base .. list, unpack(items))
  end
  return items
end

-- -> what is to be reported, as in `reports`, and the topics to be counted again
function ops.expire()
  if node ~= '' then
    -- Who can ask lives: a process that slept must not bury itself.
    call('ZADD', base .. 'nodes', 'XX', now, node)
  end
  local over = call('ZRANGEBYSCORE', base .. 'graces', '-inf', now, 'LIMIT', 0, BUDGET)
  for _, item in ipairs(over) do
    call('ZREM', base .. 'graces', item)
    local topic, id = split(item, '\n')
    if user_of(topic, id) == 0 then
      remove(topic, id)
    end
  end
  local silent = call('ZRANGEBYSCORE', base .. 'nodes', '-inf', now - dead_after, 'LIMIT', 0, 10)
  for _, who in ipairs(silent) do
    bury(who)
  end
  clear_dead(BUDGET - #over)
  return {take_due('reports'), take_due('recounts')}
end

-- The node ends: others remove what it leaves, if that is much.
function ops.bye()
  if call('ZSCORE', base .. 'nodes', node) then
    bury(node)
    clear_dead(BUDGET)
  end
end

return ops[op]()

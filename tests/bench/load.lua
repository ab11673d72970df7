-- The load: sends prepared requests over kept connections, one at a time on each, and counts and checks the answers.
--
--   luajit load.lua FILE PORT CONNECTIONS SECONDS CHECK FIRST STEP
--
-- wrk cannot do HEAD (it waits for the body), nor end after a number of requests, nor check a digest as it reads.
-- FILE holds records: a line "LENGTH STATUS METHOD DIGEST\n" and the bytes of the request. DIGEST (sha256 in
-- hex, or -) is that of the body, of Docker-Content-Digest for a HEAD. SECONDS 0 sends every record once; otherwise
-- they go round. One body in CHECK is hashed; the others are thrown away in the kernel, so that this process costs
-- little. This process takes the records FIRST, FIRST+STEP, ... Its last line of output is a JSON document.

local ffi = require "ffi"
local C = ffi.C

ffi.cdef [[
typedef long ssize_t;
struct sockaddr_in { uint16_t family; uint16_t port; uint32_t address; char zero[8]; };
struct epoll_event { uint32_t events; uint32_t fd; uint32_t pad; } __attribute__((packed));
struct timespec { long sec; long nsec; };
struct rusage { long utime_sec, utime_usec, stime_sec, stime_usec, more[14]; };
struct pollfd { int fd; short events; short revents; };
int socket(int, int, int);
int connect(int, const struct sockaddr_in *, unsigned);
int setsockopt(int, int, int, const void *, unsigned);
int close(int);
int epoll_create1(int);
int epoll_ctl(int, int, int, struct epoll_event *);
int epoll_wait(int, struct epoll_event *, int, int);
int poll(struct pollfd *, unsigned long, int);
ssize_t send(int, const void *, size_t, int);
ssize_t recv(int, void *, size_t, int);
int clock_gettime(int, struct timespec *);
int getrusage(int, struct rusage *);
char *strcasestr(const char *, const char *);
void *memmem(const void *, size_t, const void *, size_t);
long strtol(const char *, char **, int);
typedef struct { uint32_t state[64]; } SHA256_CTX;
int SHA256_Init(SHA256_CTX *);
int SHA256_Update(SHA256_CTX *, const void *, size_t);
int SHA256_Final(unsigned char *, SHA256_CTX *);
]]

local function library(names)
  for _, name in ipairs(names) do
    local found, loaded = pcall(ffi.load, name)
    if found then return loaded end
  end
  error("libcrypto is not here")
end
local crypto = library { "libcrypto.so.3", "libcrypto.so.1.1", "crypto" }

local file, port, connections = arg[1], tonumber(arg[2]), tonumber(arg[3])
local seconds, check, first, step = tonumber(arg[4]), tonumber(arg[5]), tonumber(arg[6]), tonumber(arg[7])
local BUFFER, EAGAIN, DISCARD, NOSIGNAL = 262144, 11, 0x20, 0x4000

local time = ffi.new "struct timespec"
local function now()
  C.clock_gettime(1, time)
  return tonumber(time.sec) + tonumber(time.nsec) * 1e-9
end

-- Records

local source = assert(io.open(file, "rb"))
local bytes = source:read "*a"
source:close()
local text = ffi.cast("const char *", bytes)
local records, position, number = {}, 1, 0
while position <= #bytes do
  local line_end = bytes:find("\n", position, true)
  local length, status, method, digest = bytes:sub(position, line_end - 1):match "(%S+) (%S+) (%S+) (%S+)"
  length = tonumber(length)
  if number % step == first then
    -- address, length, expected status, has no body, digest
    records[#records + 1] = { text + line_end, length, tonumber(status), method == "HEAD", digest ~= "-" and digest or nil }
  end
  number, position = number + 1, line_end + 1 + length
end
assert(#records > 0, "no requests")

-- Answers

local HEAD_END, LENGTH, CHUNKED, DIGEST = "\r\n\r\n", "\ncontent-length:", "\ntransfer-encoding: chunked", "\ndocker-content-digest: sha256:"
local function new_connection(fd)
  return {
    fd = fd, buffer = ffi.new("char[?]", BUFFER + 1), filled = 0, record = nil, began = 0,
    state = "head", left = 0, hashing = false, hash = ffi.new "SHA256_CTX", tail = "",
  }
end

local counts = { operations = 0, mismatches = 0, checked = 0, bytes = 0, reconnects = 0 }
local statuses, wrong = {}, {}
local latencies, LOGARITHM = ffi.new "uint32_t[4096]", math.log(1.01)
local slowest = 0

local final = ffi.new "unsigned char[32]"
local function hexadecimal()
  local out = {}
  for i = 0, 31 do out[i + 1] = ("%02x"):format(final[i]) end
  return table.concat(out)
end

local epoll = C.epoll_create1(0)
local event = ffi.new "struct epoll_event"
local by_fd = {}
local address = ffi.new "struct sockaddr_in"
address.family, address.address = 2, 0x0100007f
address.port = bit.bor(bit.lshift(bit.band(port, 255), 8), bit.rshift(port, 8))
local one = ffi.new("int[1]", 1)

local function open()
  local fd = C.socket(2, 1, 0)
  assert(C.connect(fd, address, 16) == 0, "cannot connect, errno " .. ffi.errno())
  C.setsockopt(fd, 6, 1, one, 4) -- TCP_NODELAY
  event.events, event.fd = 1, fd
  C.epoll_ctl(epoll, 1, fd, event)
  return fd
end

local next_record, ends, sent = 0, 0, 0
local waiting = ffi.new "struct pollfd"

local function send_all(fd, data, length)
  while length > 0 do
    local count = tonumber(C.send(fd, data, length, NOSIGNAL))
    if count > 0 then
      data, length = data + count, length - count
    elseif ffi.errno() == EAGAIN then
      waiting.fd, waiting.events = fd, 4
      C.poll(waiting, 1, 1000)
    else
      return false
    end
  end
  return true
end

-- False when there is nothing more to send.
local function begin(connection)
  if seconds == 0 and sent >= #records then return false end
  next_record = next_record % #records + 1
  sent = sent + 1
  local record = records[next_record]
  connection.record, connection.state, connection.filled = record, "head", 0
  connection.hashing = record[5] ~= nil and not record[4] and sent % check == 0
  connection.began = now()
  if connection.began >= ends then return false end
  return send_all(connection.fd, record[1], record[2])
end

local function done(connection)
  local record, finished = connection.record, now()
  local took = (finished - connection.began) * 1e6
  local bucket = math.min(4095, math.floor(math.log(math.max(took, 1)) / LOGARITHM))
  latencies[bucket] = latencies[bucket] + 1
  if took > slowest then slowest = took end
  if connection.hashing then
    crypto.SHA256_Final(final, connection.hash)
    counts.checked = counts.checked + 1
    if hexadecimal() ~= record[5] then counts.mismatches = counts.mismatches + 1 end
  end
  counts.operations = counts.operations + 1
end

local function note_status(connection, status)
  if status ~= connection.record[3] then
    local key = tostring(status)
    statuses[key] = (statuses[key] or 0) + 1
    if #wrong < 3 then
      local record = connection.record
      local line = ffi.string(record[1], math.min(record[2], 200)):match "[^\r\n]*"
      wrong[#wrong + 1] = line .. " -> " .. ffi.string(connection.buffer, math.min(connection.filled, 400))
    end
  end
end

local function check_header(connection, digest)
  local found = C.strcasestr(connection.buffer, DIGEST)
  counts.checked = counts.checked + 1
  if found == nil or ffi.string(found + #DIGEST, 64) ~= digest then counts.mismatches = counts.mismatches + 1 end
end

local function hash(connection, data, length)
  if connection.hashing then crypto.SHA256_Update(connection.hash, data, length) end
end

-- The body of a chunked answer ends with an empty chunk; what it says is not needed here.
local function read_chunks(connection, data, length)
  counts.bytes = counts.bytes + length
  connection.tail = (connection.tail .. ffi.string(data + math.max(0, length - 5), math.min(5, length))):sub(-5)
  return connection.tail == "0\r\n\r\n"
end

-- The head has arrived: true when nothing follows.
local function read_head(connection, body)
  local buffer, record = connection.buffer, connection.record
  local kept = body[0]
  body[0] = 0 -- strcasestr must not look into the body
  local status = (buffer[9] - 48) * 100 + (buffer[10] - 48) * 10 + (buffer[11] - 48)
  note_status(connection, status)
  local length, chunked = C.strcasestr(buffer, LENGTH), false
  if length ~= nil then
    length = tonumber(C.strtol(length + #LENGTH, nil, 10))
  else
    length, chunked = 0, C.strcasestr(buffer, CHUNKED) ~= nil
  end
  if record[4] then
    if record[5] then check_header(connection, record[5]) end
    body[0] = kept
    return true
  end
  body[0] = kept
  if status ~= record[3] then connection.hashing = false end
  if connection.hashing then crypto.SHA256_Init(connection.hash) end
  local arrived = connection.filled - tonumber(body - buffer)
  if chunked then
    connection.state, connection.hashing, connection.tail = "chunks", false, ""
    return read_chunks(connection, body, arrived)
  end
  counts.bytes = counts.bytes + arrived
  hash(connection, body, arrived)
  connection.state, connection.left = "body", length - arrived
  return connection.left <= 0
end

-- Read what is there: "done", "more" or "closed".
local function receive(connection)
  local buffer = connection.buffer
  if connection.state == "head" then
    local count = tonumber(C.recv(connection.fd, buffer + connection.filled, BUFFER - connection.filled, 0x40))
    if count <= 0 then return (count < 0 and ffi.errno() == EAGAIN) and "more" or "closed" end
    connection.filled = connection.filled + count
    local head_end = ffi.cast("char *", C.memmem(buffer, connection.filled, HEAD_END, 4))
    if head_end == nil then return "more" end
    return read_head(connection, head_end + 4) and "done" or "more"
  end
  local discard = connection.state == "body" and not connection.hashing
  local wanted = BUFFER
  if discard then wanted = math.min(connection.left, 1048576 * 8) end
  local count = tonumber(C.recv(connection.fd, buffer, wanted, 0x40 + (discard and DISCARD or 0)))
  if count <= 0 then return (count < 0 and ffi.errno() == EAGAIN) and "more" or "closed" end
  if connection.state == "chunks" then return read_chunks(connection, buffer, count) and "done" or "more" end
  counts.bytes = counts.bytes + count
  hash(connection, buffer, count)
  connection.left = connection.left - count
  return connection.left <= 0 and "done" or "more"
end

-- The loop

local began = now()
ends = seconds > 0 and began + seconds or began + 600
local open_connections = 0
for _ = 1, math.min(connections, seconds == 0 and #records or connections) do
  local connection = new_connection(open())
  by_fd[connection.fd] = connection
  open_connections = open_connections + 1
end
began = now()
ends = seconds > 0 and began + seconds or began + 600
for _, connection in pairs(by_fd) do begin(connection) end

local function finish(connection)
  C.close(connection.fd)
  by_fd[connection.fd] = nil
  open_connections = open_connections - 1
end

-- The server closed the connection, which it may between two answers: the request goes again on a new one.
local function reconnect(connection)
  counts.reconnects = counts.reconnects + 1
  C.close(connection.fd)
  by_fd[connection.fd] = nil
  if counts.reconnects > 1000 or now() >= ends then
    open_connections = open_connections - 1
    return
  end
  connection.fd = open()
  by_fd[connection.fd] = connection
  connection.state, connection.filled = "head", 0
  send_all(connection.fd, connection.record[1], connection.record[2])
end

local events = ffi.new "struct epoll_event[256]"
-- What is under way when the time is over is read to its end, for this long.
while open_connections > 0 and now() < ends + 60 do
  local ready = C.epoll_wait(epoll, events, 256, 1000)
  for i = 0, ready - 1 do
    local connection = by_fd[events[i].fd]
    if connection then
      local how = receive(connection)
      if how == "done" then
        done(connection)
        if not begin(connection) then finish(connection) end
      elseif how == "closed" then
        reconnect(connection)
      end
    end
  end
end
local took = now() - began

-- The result

local function percentile(share)
  local wanted, seen = counts.operations * share, 0
  for i = 0, 4095 do
    seen = seen + latencies[i]
    if seen >= wanted then return 1.01 ^ (i + 1) / 1000 end
  end
end

local usage = ffi.new "struct rusage"
C.getrusage(0, usage)
local cpu = tonumber(usage.utime_sec + usage.stime_sec) + tonumber(usage.utime_usec + usage.stime_usec) * 1e-6
local pairs_of = {}
for status, count in pairs(statuses) do pairs_of[#pairs_of + 1] = ("%q: %d"):format(status, count) end
local function quoted(value)
  return '"' .. value:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end):gsub("[\128-\255]", "?") .. '"'
end
for i, one_wrong in ipairs(wrong) do wrong[i] = quoted(one_wrong) end
print(("{%q: %d, %q: %.6f, %q: %.6f, %q: %d, %q: %d, %q: %d, %q: %d, %q: %.4f, %q: %.4f, %q: %.4f, %q: {%s}, %q: [%s], %q: %d}")
  :format("operations", counts.operations, "seconds", took, "cpu", cpu, "mismatches", counts.mismatches,
    "checked", counts.checked, "bytes", counts.bytes, "reconnects", counts.reconnects,
    "p50_ms", percentile(0.5), "p99_ms", percentile(0.99), "max_ms", slowest / 1000,
    "unexpected", table.concat(pairs_of, ", "), "examples", table.concat(wrong, ", "), "unfinished", open_connections))
